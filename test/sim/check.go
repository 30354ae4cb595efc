package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

const checkTimeout = 2 * time.Minute // real time; a history is checked in milliseconds

// check tells what of the history no filesystem could have shown.
func (h *history) check() (violations []string) {
	for _, c := range h.calls {
		if c.err != nil {
			violations = append(violations, fmt.Sprintf("an application saw an error: %v", c))
		}
	}
	for _, object := range append([]string{namesObject}, dataFiles...) {
		if err := checkObject(object, h.operations(object)); err != nil {
			violations = append(violations, fmt.Sprintf("%s: %v", object, err))
		}
	}
	return append(violations, h.checkAftermath()...)
}

func checkObject(object string, operations []porcupine.Operation) error {
	switch object {
	case namesObject:
		return checkModel(oneTree, operations)
	case logFile:
		return checkModel(oneLog, operations)
	}
	return errors.Join(checkModel(oneSize, operations), checkCells(operations))
}

func checkModel(model porcupine.Model, operations []porcupine.Operation) error {
	switch porcupine.CheckOperationsTimeout(model, operations, checkTimeout) {
	case porcupine.Illegal:
		return errors.New("this is not the history of one filesystem")
	case porcupine.Unknown:
		return errors.New("the check took too long")
	}
	return nil
}
