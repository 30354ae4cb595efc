package pipeline

import (
	"fmt"

	"github.com/distrifs/distrifs/proto"
)

// ChainError is the failure of a request at one node of a chain. errors.As finds
// the *proto.Error inside, errors.Is its Kind.
//
// Kinds that a caller meets: ChainBroken (FailedNode cannot be reached or gave no
// sign of life: report it to the master), Unavailable (the same, of a read: try
// another replica), WrongVersion and NoReplica (ask the master for the chain),
// DataCorrupt (FailedNode received or holds wrong bytes), and whatever the Store
// answered (NoSpace, IO, ...).
type ChainError struct {
	Err        *proto.Error
	FailedNode proto.NodeID // the node that failed first, as seen by its predecessor
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("node %d: %s", e.FailedNode, e.Err.Error())
}

// Unwrap gives the *proto.Error to errors.Is and errors.As.
func (e *ChainError) Unwrap() error { return e.Err }
