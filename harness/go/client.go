package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What goes before a measurement: bytes of the same direction in a transfer, requests of the same kind elsewhere.
const (
	warmUpBytes    = 16 << 20
	warmUpRequests = 50
)

// clientOptions are the options of the peer contract; 0 stands for the mode's default.
type clientOptions struct {
	addr  string
	mode  string
	n     int
	c     int
	bytes int64
	size  int
	ca    string
}

func (o clientOptions) count(standard int) int {
	if o.n > 0 {
		return o.n
	}
	return standard
}

func (o clientOptions) payload(standard int) int {
	if o.size > 0 {
		return o.size
	}
	return standard
}

type mode func(context.Context, target, clientOptions) (map[string]any, error)

var modes = map[string]mode{
	"connect":  measureConnect,
	"upload":   measureUpload,
	"download": measureDownload,
	"rtt":      measureRoundTrip,
	"seq":      measureSequential,
	"conc":     measureConcurrent,
}

func client(args []string) error {
	var options clientOptions
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.StringVar(&options.addr, "addr", "", "multiaddr of the server, with /p2p")
	flags.StringVar(&options.mode, "mode", "", "connect, upload, download, rtt, seq or conc")
	flags.IntVar(&options.n, "n", 0, "repetitions (default: by mode)")
	flags.IntVar(&options.c, "c", 32, "requests at a time")
	flags.Int64Var(&options.bytes, "bytes", 268435456, "bytes to transfer")
	flags.StringVar(&options.ca, "ca", "", "PEM file of whom a client of tls/ws trusts")
	flags.IntVar(&options.size, "size", 0, "bytes of a write or of a request (default: by mode)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	measure, ok := modes[options.mode]
	if !ok {
		return fmt.Errorf("unknown mode %q", options.mode)
	}
	info, err := peer.AddrInfoFromString(options.addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	result, err := measureWith(ctx, measure, *info, options)
	if err != nil {
		return fmt.Errorf("%s: %w", options.mode, err)
	}
	result["mode"] = options.mode
	result["version"] = "go-libp2p " + libraryVersion()
	printLine(result)
	return nil
}

func measureWith(ctx context.Context, measure mode, info peer.AddrInfo, options clientOptions) (map[string]any, error) {
	if options.mode == "connect" {
		return measure(ctx, target{info: info, ca: options.ca}, options)
	}
	h, err := newHost(hostOptions{ca: options.ca})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.Connect(ctx, info); err != nil {
		return nil, err
	}
	return measure(ctx, target{host: h, info: info}, options)
}
