package client

import (
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/distrifs/distrifs/proto"
)

// unanswered says in one line that a master did not answer, and why.
func unanswered(master string, after time.Duration, err error) error {
	why := err
	for errors.Unwrap(why) != nil {
		why = errors.Unwrap(why)
	}
	text := why.Error()
	if st, ok := status.FromError(why); ok {
		text = st.Message()
	}
	// What gRPC says about dialling holds what the system said, in quotes.
	text = text[strings.LastIndex(text, `"`+"transport: Error while dialing: ")+1:]
	text = strings.TrimSuffix(strings.TrimPrefix(text, "transport: Error while dialing: "), `"`)
	return proto.E(proto.Unavailable, "connect to master", master,
		"no answer in "+after.String()+" ("+text+"): see that it runs and that the address is right")
}
