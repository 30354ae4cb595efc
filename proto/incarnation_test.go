package proto

import "testing"

func TestIncarnation(t *testing.T) {
	var none Incarnation
	first := none.Next(7)
	second, twin := first.Next(1), first.Next(1<<incarnationRandom|2)
	if first.Start() != 1 || second.Start() != 2 || twin.Start() != 2 {
		t.Errorf("%d, %d, %d", first.Start(), second.Start(), twin.Start())
	}
	for _, ok := range []bool{first.Continues(none), second.Continues(first), second.Continues(second), second.Next(0).Continues(twin)} {
		if !ok {
			t.Error("a start does not continue the one before")
		}
	}
	for _, set := range []bool{twin.Continues(second), second.Continues(twin), first.Continues(second)} {
		if set {
			t.Error("a start from an older copy counts as going on")
		}
	}
}
