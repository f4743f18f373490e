// Command peer is a stock go-libp2p host over TCP or WebSocket, Noise and Yamux, in three faces.
//
//	peer serve  --port P [--host H] [--over ws]         the server of docs/catalogue/peer-contract.md
//	peer client --addr A --mode M [...]                 its client
//	peer drive  [--listen] [--listen-ws] [--key-type T] driven by JSON lines, for the interoperability tests
//
// drive.go lists the commands that drive understands.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: peer serve|client|drive [options]")
	}
	switch args[0] {
	case "serve":
		return serve(args[1:])
	case "client":
		return client(args[1:])
	case "drive":
		return drive(args[1:])
	}
	return fmt.Errorf("unknown command %q", args[0])
}
