package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
)

// command is one line on stdin. Each command runs on its own and is answered by one line with the same id:
// {"id": 7, "ok": true, ...} or {"id": 7, "ok": false, "error": "...", "code": 4098}. code is there when the error was
// a stream reset with a code.
//
//	connect            addr                                dial; tells how the connection was negotiated
//	reserve            addr                                a reservation at that relay (with --circuits)
//	connections        peer                                the same for the connections that exist
//	identify           peer [after]                        what the remote said, once there were more than `after` answers
//	protocols          peer                                what the peer store holds
//	add_protocol       protocol                            serve it like /bench/echo/1 (identify pushes)
//	remove_protocol    protocol                            and no longer
//	ping               peer n                              n pings on one stream
//	perf               peer up down                        one perf run
//	streams_sequential peer n [protocol size]              one after the other: write, end, read back, compare
//	streams_concurrent peer n [protocol size]              all open at once, half sent, then the rest
//	open_hold          peer n [protocol no_echo]           open streams and keep them; the failures are told one by one
//	check_held         [no_echo]                           one more byte on each of them
//	release            [n code]                            end the first n (all), or reset them with code
//	half_close         peer [protocol size remote_first]   end our side first, or (remote_first) wait for theirs to end
//	reset              peer code [protocol]                one echoed byte, then reset with code
//	expect_reset       peer [protocol]                     one byte, then read until the remote resets
//	source             peer bytes                          /test/source/1
//	sink               peer bytes [protocol]               /test/sink/1
//	raw                peer send want                      send bytes (hex) on a stream without negotiation, read want of them
//	bulk_with_small    peer bytes others [down pause_ms]   one perf stream, while others ping-pong 64 bytes each
//	events                                                 what happened since the last such command: connections, identify,
//	                                                       served test streams, and contract streams that failed
//	warnings                                               what go-libp2p logged as warning or worse, or as failed identify
//	close              peer                                close the connections to a peer
//	close_host                                             shut the host down
//	close_mdns                                             say goodbye on the LAN, with --mdns
//
// Commands on many streams answer with done, failed and failures (the first hundred: index, error, code).
// The end of stdin ends the program.
type command struct {
	ID          json.RawMessage `json:"id"`
	Cmd         string          `json:"cmd"`
	Addr        string          `json:"addr"`
	Peer        string          `json:"peer"`
	Protocol    string          `json:"protocol"`
	N           int             `json:"n"`
	After       int             `json:"after"`
	Up          int64           `json:"up"`
	Down        int64           `json:"down"`
	Bytes       int64           `json:"bytes"`
	Size        int             `json:"size"`
	Send        string          `json:"send"`
	Want        int             `json:"want"`
	Others      int             `json:"others"`
	PauseMS     int             `json:"pause_ms"`
	Code        *uint32         `json:"code"`
	NoEcho      bool            `json:"no_echo"`
	RemoteFirst bool            `json:"remote_first"`
	Timeout     float64         `json:"timeout"` // seconds, default 60
}

func (c command) protocol(standard string) string {
	if c.Protocol != "" {
		return c.Protocol
	}
	return standard
}

func (c command) count() int { return max(c.N, 1) }

func (c command) payload() int {
	if c.Size > 0 {
		return c.Size
	}
	return 64
}

type fields = map[string]any

type action func(*driver, context.Context, command) (fields, error)

var actions = map[string]action{
	"connect":            (*driver).connect,
	"reserve":            (*driver).reserve,
	"connections":        (*driver).connections,
	"identify":           (*driver).identify,
	"protocols":          (*driver).protocols,
	"add_protocol":       (*driver).addProtocol,
	"remove_protocol":    (*driver).removeProtocol,
	"ping":               (*driver).ping,
	"perf":               (*driver).perf,
	"streams_sequential": (*driver).streamsSequential,
	"streams_concurrent": (*driver).streamsConcurrent,
	"open_hold":          (*driver).openHold,
	"check_held":         (*driver).checkHeld,
	"release":            (*driver).release,
	"half_close":         (*driver).halfClose,
	"reset":              (*driver).reset,
	"expect_reset":       (*driver).expectReset,
	"source":             (*driver).source,
	"sink":               (*driver).sink,
	"raw":                (*driver).raw,
	"bulk_with_small":    (*driver).bulkWithSmall,
	"events":             (*driver).takeEvents,
	"warnings":           (*driver).takeWarnings,
	"close":              (*driver).closePeer,
	"close_host":         (*driver).closeHost,
	"close_mdns":         (*driver).closeMdns,
}

type driver struct {
	host       *basichost.BasicHost
	happenings *happenings
	warnings   *warnings
	mdns       mdns.Service

	mu     sync.Mutex
	held   []network.Stream
	output sync.Mutex
}

func drive(args []string) error {
	var options hostOptions
	flags := flag.NewFlagSet("drive", flag.ContinueOnError)
	flags.StringVar(&options.keyType, "key-type", "ed25519", "ed25519, secp256k1, ecdsa or rsa")
	flags.StringVar(&options.earlyMuxer, "early-muxer", earlyMuxer, "on, empty or absent")
	on := flags.String("host", "127.0.0.1", "listen on this IPv4 address instead")
	discover := flags.Bool("mdns", false, "discover peers on the LAN, and be discovered")
	without := flags.Bool("no-early-muxer", false, "the same as --early-muxer absent")
	flags.BoolVar(&options.relays.circuits, "circuits", false, "dial through relays, and be reached through them")
	flags.BoolVar(&options.relays.relay, "relay", false, "be a relay, with go's limits")
	flags.BoolVar(&options.relays.unlimited, "relay-unlimited", false, "without limits for a circuit")
	flags.Int64Var(&options.relays.data, "relay-data", 0, "bytes that a circuit carries each way")
	flags.DurationVar(&options.relays.duration, "relay-duration", 0, "how long a circuit lasts")
	listen := flags.Bool("listen", false, "listen on /ip4/127.0.0.1/tcp/0")
	listenWS := flags.Bool("listen-ws", false, "listen on /ip4/127.0.0.1/tcp/0/ws")
	listenWSS := flags.Bool("listen-wss", false, "listen on /ip4/127.0.0.1/tcp/0/tls/ws")
	flags.StringVar(&options.tlsCert, "tls-cert", "", "PEM file for tls/ws")
	flags.StringVar(&options.tlsKey, "tls-key", "", "PEM file of its key")
	flags.StringVar(&options.ca, "ca", "", "PEM file of whom a dialer of tls/ws trusts")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *without {
		options.earlyMuxer = earlyMuxerAbsent
	}
	if *listen {
		options.listen = append(options.listen, "/ip4/127.0.0.1/tcp/0")
	}
	if *listenWS {
		options.listen = append(options.listen, "/ip4/127.0.0.1/tcp/0/ws")
	}
	if *listenWSS {
		options.listen = append(options.listen, "/ip4/127.0.0.1/tcp/0/tls/ws")
	}
	logged := collectWarnings(os.Stderr)
	onHost(options.listen, *on)
	host, err := newHost(options)
	if err != nil {
		return err
	}
	defer host.Close()
	d := &driver{host: host, warnings: logged}
	if d.happenings, err = watch(host); err != nil {
		return err
	}
	if *discover {
		if d.mdns, err = startMdns(host, d.happenings); err != nil {
			return err
		}
		defer d.mdns.Close()
	}
	serveContract(host, d.happenings.streamFailed)
	serveTests(host, d.happenings.streamEnded)
	if err := d.ready(); err != nil {
		return err
	}
	return d.readCommands()
}

func (d *driver) ready() error {
	key, err := publicKey(d.host.Peerstore().PubKey(d.host.ID()))
	if err != nil {
		return err
	}
	d.print(fields{
		"ready": true, "peer": d.host.ID().String(), "addrs": texts(d.host.Network().ListenAddresses()), "key": key,
		"protocols": d.host.Mux().Protocols(), "pid": os.Getpid(), "version": "go-libp2p " + libraryVersion(),
	})
	return nil
}

func (d *driver) readCommands() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("bad command %q: %w", lines.Text(), err)
		}
		go d.answer(c)
	}
	return lines.Err()
}

func (d *driver) answer(c command) {
	result, err := d.perform(c)
	if result == nil {
		result = fields{}
	}
	result["id"] = c.ID
	result["ok"] = err == nil
	if err != nil {
		describeError(result, err)
	}
	d.print(result)
}

func (d *driver) perform(c command) (fields, error) {
	act, ok := actions[c.Cmd]
	if !ok {
		return nil, fmt.Errorf("unknown command %q", c.Cmd)
	}
	timeout := 60 * time.Second
	if c.Timeout > 0 {
		timeout = time.Duration(c.Timeout * float64(time.Second))
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return act(d, onCircuits(ctx), c)
}

func (d *driver) print(value any) {
	d.output.Lock()
	defer d.output.Unlock()
	printLine(value)
}

// target resolves the command's peer.
func (d *driver) target(c command) (target, error) {
	id, err := peer.Decode(c.Peer)
	return target{host: d.host, info: peer.AddrInfo{ID: id}, deadlines: true}, err
}

// describeError adds the text, and the code when the error is a stream reset.
func describeError(into fields, err error) {
	into["error"] = err.Error()
	var reset *network.StreamError
	if errors.As(err, &reset) {
		into["code"] = uint32(reset.ErrorCode)
		into["remote"] = reset.Remote
	}
}
