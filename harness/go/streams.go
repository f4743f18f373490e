package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// target is whom a stream goes to, and from which host (nil in connect, which makes its own).
type target struct {
	host      host.Host
	info      peer.AddrInfo
	ca        string // whom a client of tls/ws trusts
	deadlines bool   // the context's deadline becomes the stream's, which costs time that a benchmark would count
}

// open opens a stream on the existing connection; it never dials.
func (t target) open(ctx context.Context, protocolName string) (network.Stream, error) {
	stream, err := t.host.NewStream(network.WithNoDial(ctx, "connected before"), t.info.ID, protocol.ID(protocolName))
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok && t.deadlines {
		if err := stream.SetDeadline(deadline); err != nil {
			stream.Reset()
			return nil, err
		}
	}
	return stream, nil
}

// perfTimes are counted from the first byte: until the write side was closed, and until the server's EOF.
type perfTimes struct {
	upload time.Duration
	total  time.Duration
}

// perf runs /perf/1.0.0 once (specs: perf/perf.md) and checks the number of bytes that came back.
func perf(ctx context.Context, to target, up, down int64, size int) (perfTimes, error) {
	stream, err := to.open(ctx, perfProtocol)
	if err != nil {
		return perfTimes{}, err
	}
	times, err := perfOn(stream, up, down, size)
	if err != nil {
		stream.Reset()
		return times, err
	}
	return times, stream.Close()
}

func perfOn(stream network.Stream, up, down int64, size int) (times perfTimes, err error) {
	begin := time.Now()
	if _, err := stream.Write(binary.BigEndian.AppendUint64(nil, uint64(down))); err != nil {
		return times, err
	}
	if err := writeZeros(stream, up, size); err != nil {
		return times, err
	}
	if err := stream.CloseWrite(); err != nil {
		return times, err
	}
	times.upload = time.Since(begin)
	received, err := discard(stream)
	times.total = time.Since(begin)
	if err == nil && received != down {
		err = fmt.Errorf("asked for %d bytes, got %d", down, received)
	}
	return times, err
}
