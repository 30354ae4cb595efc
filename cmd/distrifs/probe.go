package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/distrifs/distrifs/client"
)

// probe finds out whether parts of a cluster answer. It is used by one goroutine
// at a time.
type probe struct {
	master string
	client *client.Client // nil until the master answered
}

func newProbe(master string) *probe { return &probe{master: master} }

func (p *probe) close() {
	if p.client != nil {
		p.client.Close()
	}
}

// answers is the supervisor's question.
func (p *probe) answers(ctx context.Context, role string, addresses []string) error {
	switch role {
	case roleMaster:
		return p.masterAnswers(ctx)
	case roleChunkserver:
		return p.chunkserversAlive(ctx, addresses)
	default:
		for _, mountpoint := range addresses {
			if err := mountAnswers(ctx, mountpoint); err != nil {
				return err
			}
		}
		return nil
	}
}

func (p *probe) masterAnswers(ctx context.Context) error {
	// A plain connection tells at once whether somebody listens.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", p.master)
	if err != nil {
		return err
	}
	conn.Close()
	if p.client == nil {
		if p.client, err = client.Dial(ctx, p.master, client.Options{Name: "distrifs up"}); err != nil {
			p.client = nil
			return err
		}
	}
	_, err = p.client.Status(ctx)
	return err
}

func (p *probe) chunkserversAlive(ctx context.Context, addresses []string) error {
	reply, err := p.client.Status(ctx)
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, node := range reply.Nodes {
		alive[node.Address] = node.Alive
	}
	for _, address := range addresses {
		if !alive[address] {
			err = errors.Join(err, fmt.Errorf("the chunkserver on %s has not registered with the master", address))
		}
	}
	return err
}
