package meta

import (
	"net"

	"github.com/distrifs/distrifs/proto/pb"
)

// Master is a running master.
type Master struct {
	pb.UnimplementedMasterServer
	pb.UnimplementedDataNodesServer
}

func Open(cfg Config) (*Master, error)       { return &Master{}, cfg.setDefaults() }
func (m *Master) Serve(l net.Listener) error { return nil }
func (m *Master) Close() error               { return nil }
