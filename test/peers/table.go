package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
)

// table gathers the figures of all workloads.
type table struct {
	systems []*system
	rows    []*row
}

type row struct {
	w       *workload
	figures map[*system]float64 // without those that failed
	errors  map[*system]error
}

func newTable(systems []*system) *table { return &table{systems: systems} }

func (t *table) add(w *workload, s *system, figure float64, err error) {
	if len(t.rows) == 0 || t.rows[len(t.rows)-1].w != w {
		t.rows = append(t.rows, &row{w, map[*system]float64{}, map[*system]error{}})
	}
	r := t.rows[len(t.rows)-1]
	if err != nil {
		r.errors[s] = err
	} else {
		r.figures[s] = figure
	}
}

// ratio of the first system to another one: more than 1 means that the first is better.
// 0: one of the two has no figure.
func (r *row) ratio(first, other *system) float64 {
	a, b := r.figures[first], r.figures[other]
	if a == 0 || b == 0 {
		return 0
	}
	if r.w.lessIsBetter() {
		return b / a
	}
	return a / b
}

// print writes the table in Markdown: ratios, then figures.
func (t *table) print(out io.Writer) {
	if len(t.systems) == 0 {
		return
	}
	first, others := t.systems[0], t.systems[1:]
	fmt.Fprint(out, "\n| workload |")
	for _, s := range others {
		fmt.Fprintf(out, " %s / %s |", first.name, s.name)
	}
	fmt.Fprint(out, " unit |")
	for _, s := range t.systems {
		fmt.Fprintf(out, " %s |", s.name)
	}
	fmt.Fprint(out, "\n|---|")
	for range others {
		fmt.Fprint(out, "--:|")
	}
	fmt.Fprint(out, "---|")
	for range t.systems {
		fmt.Fprint(out, "--:|")
	}
	fmt.Fprintln(out)
	for _, r := range t.rows {
		fmt.Fprintf(out, "| %s |", r.w.name)
		for _, s := range others {
			fmt.Fprintf(out, " %s |", ratioText(r.ratio(first, s)))
		}
		fmt.Fprintf(out, " %s |", r.w.unit)
		for _, s := range t.systems {
			fmt.Fprintf(out, " %s |", figureText(r, s))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprint(out, "| **geometric mean** |")
	for _, s := range others {
		fmt.Fprintf(out, " **%s** |", ratioText(t.mean(first, s)))
	}
	fmt.Fprintln(out)
	t.printErrors(out)
}

func (t *table) printErrors(out io.Writer) {
	for _, r := range t.rows {
		for _, s := range t.systems {
			if err := r.errors[s]; err != nil {
				fmt.Fprintf(out, "\n%s on %s failed: %v\n", r.w.name, s.name, err)
			}
		}
	}
}

// mean is the geometric mean of the ratios of two systems.
func (t *table) mean(first, other *system) float64 {
	sum, n := 0.0, 0
	for _, r := range t.rows {
		if ratio := r.ratio(first, other); ratio > 0 {
			sum += math.Log(ratio)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return math.Exp(sum / float64(n))
}

func ratioText(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return strconv.FormatFloat(ratio, 'f', 2, 64)
}

func figureText(r *row, s *system) string {
	if figure, ok := r.figures[s]; ok {
		return number(figure)
	}
	return "failed"
}

// number with three digits that count.
func number(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}
