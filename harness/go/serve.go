package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// readyLine is the one line that serve prints when it listens.
type readyLine struct {
	Peer    string `json:"peer"`
	Addr    string `json:"addr"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	ip := flags.String("host", "127.0.0.1", "IPv4 address to listen on")
	port := flags.Int("port", 0, "TCP port")
	over := flags.String("over", "", "what is spoken there: ws, tls/ws, or nothing for TCP itself")
	cert := flags.String("tls-cert", "", "PEM file for tls/ws")
	key := flags.String("tls-key", "", "PEM file of its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listen := fmt.Sprintf("/ip4/%s/tcp/%d", *ip, *port)
	if *over != "" {
		listen += "/" + *over
	}
	host, err := newHost(hostOptions{listen: []string{listen}, tlsCert: *cert, tlsKey: *key})
	if err != nil {
		return err
	}
	defer host.Close()
	serveContract(host, nil)
	addrs := host.Network().ListenAddresses()
	if len(addrs) == 0 {
		return fmt.Errorf("no listen address")
	}
	printLine(readyLine{
		Peer:    host.ID().String(),
		Addr:    addrs[0].String() + "/p2p/" + host.ID().String(),
		PID:     os.Getpid(),
		Version: "go-libp2p " + libraryVersion(),
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return nil
}

func printLine(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
