package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/proto/pb"
)

// addMoves adds the commands by which an operator moves chunks, or keeps them in place.
func addMoves(program *cli.Command, master *string) {
	addDecommission(program, master)
	addMaintenance(program, master)
	addRebalance(program, master)
}

func addDecommission(program *cli.Command, master *string) {
	c := program.Sub("decommission", "empty a chunkserver, to take it away")
	c.Args, c.MinArgs, c.MaxArgs = "NODE", 1, 1
	c.Long = `Has a chunkserver, named by its number or its address, give up all its chunks. Each
is copied to others before it is given up, so nothing is less safe meanwhile, and the
chunkserver serves until the end. It is given no new chunks. 'distrifs status' tells how
many are left; at none, stop it. The order outlives restarts of the master; --cancel takes
it back.`
	c.Examples = "distrifs decommission 4\ndistrifs decommission 10.0.0.5:9421 --cancel"
	cancel := c.Flags().Bool("cancel", false, "take the order back: what has moved stays where it is")
	c.Run = func(ctx context.Context, args []string) error {
		return operate(ctx, *master, args[0], &pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, On: !*cancel}, func(node uint32, chunks uint64) string {
			if *cancel {
				return fmt.Sprintf("chunkserver %d keeps the %s chunks that it has", node, count(chunks))
			}
			return fmt.Sprintf("chunkserver %d gives up %s chunks; 'distrifs status' tells how many are left", node, count(chunks))
		})
	}
}

func addMaintenance(program *cli.Command, master *string) {
	c := program.Sub("maintenance", "say that a chunkserver will be away for a while")
	c.Args, c.MinArgs, c.MaxArgs = "NODE on|off", 2, 2
	c.Long = `While a chunkserver is in maintenance it may be stopped and nothing that it holds is
copied elsewhere. It is given no new chunks. It ends by itself after --for, or with 'off'.
What is written meanwhile has one replica less until the chunkserver is back.`
	c.Examples = "distrifs maintenance 4 on --for 20m\ndistrifs maintenance 4 off"
	length := c.Flags().Duration("for", time.Hour, "how long it may be away, at most 7 days")
	c.Run = func(ctx context.Context, args []string) error {
		if args[1] != "on" && args[1] != "off" {
			return cli.Usagef("%q is neither on nor off", args[1])
		}
		on := args[1] == "on"
		if on && *length < time.Second {
			return cli.Usagef("--for must be a second or more")
		}
		req := &pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, On: on, Seconds: uint64(length.Seconds())}
		return operate(ctx, *master, args[0], req, func(node uint32, chunks uint64) string {
			if !on {
				return fmt.Sprintf("maintenance of chunkserver %d has ended", node)
			}
			return fmt.Sprintf("chunkserver %d, with %s chunks, may be away for %v", node, count(chunks), *length)
		})
	}
}

func addRebalance(program *cli.Command, master *string) {
	c := program.Sub("rebalance", "move chunks to where there is more room")
	c.Long = `Moves chunks from chunkservers that are fuller than the others to emptier ones, until
all are within 5 % of the mean, and then ends. It goes on behind a repair and at the same
bounded rate. Where new chunks go is chosen by free space anyway: after adding
servers, this is for what lies on the old ones.`
	c.Examples = "distrifs rebalance\ndistrifs rebalance --cancel"
	cancel := c.Flags().Bool("cancel", false, "end it: what has moved stays where it is")
	c.Run = func(ctx context.Context, _ []string) error {
		return operate(ctx, *master, "", &pb.OperateRequest{Move: pb.Move_MOVE_REBALANCE, On: !*cancel}, func(uint32, uint64) string {
			if *cancel {
				return "rebalancing ends"
			}
			return "rebalancing has begun; 'distrifs status' tells how it goes"
		})
	}
}

// operate sends an order and prints what it means. An empty name is the cluster.
func operate(ctx context.Context, master, name string, req *pb.OperateRequest, tell func(node uint32, chunks uint64) string) error {
	return withRemotes(ctx, "operate", []string{":/"}, master, func(c *client.Client, _ location) error {
		if name != "" {
			status, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if req.Node, err = findNode(status.Nodes, name); err != nil {
				return err
			}
		}
		reply, err := c.Operate(ctx, req)
		if err != nil {
			return err
		}
		fmt.Println(tell(req.Node, reply.Chunks))
		return nil
	})
}

// findNode finds a chunkserver by number or address. One that came back with empty folders
// is a new one, at the address of the old.
func findNode(nodes []*pb.NodeStatus, name string) (uint32, error) {
	number, err := strconv.ParseUint(name, 10, 32)
	var found []uint32
	for _, n := range nodes {
		if err == nil && uint64(n.Node) == number || n.Address == name {
			found = append(found, n.Node)
		}
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("no chunkserver has the number or address %q: see 'distrifs status'", name)
	case 1:
		return found[0], nil
	}
	return 0, fmt.Errorf("chunkservers %v all have the address %q: give the number of one: see 'distrifs status'", found, name)
}
