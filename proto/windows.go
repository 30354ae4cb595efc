package proto

// Flow-control windows of gRPC, bytes that may be on their way unread. They are fixed: a
// window that follows the bandwidth is measured by a ping for every message, which costs
// small calls a third of their time.
const (
	StreamWindow     = 1 << 20
	ConnectionWindow = 8 << 20
)
