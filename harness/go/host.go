package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// How a host announces its muxers inside the Noise handshake.
const (
	earlyMuxer       = "on"     // stream_muxers holds /yamux/1.0.0, as go-libp2p does by default
	earlyMuxerEmpty  = "empty"  // the extensions are there, stream_muxers is empty
	earlyMuxerAbsent = "absent" // no extensions at all, as before the extension existed
)

var keyTypes = map[string]int{
	"ed25519":   crypto.Ed25519,
	"secp256k1": crypto.Secp256k1,
	"ecdsa":     crypto.ECDSA,
	"rsa":       crypto.RSA,
}

type hostOptions struct {
	keyType    string
	earlyMuxer string
	listen     []string
	relays     relayOptions
	tlsCert    string
	tlsKey     string
	ca         string
}

// newHost puts together the parts that libp2p.New would: the swarm, the TCP and WebSocket transports with their
// upgrader, and the basic host with identify and ping. Doing it here leaves QUIC, WebRTC and the rest out of the build,
// and lets a test choose what the Noise handshake announces. Nothing limits connections, streams or memory.
func newHost(options hostOptions) (*basichost.BasicHost, error) {
	key, err := newKey(options.keyType)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	if err := store.AddPrivKey(id, key); err != nil {
		return nil, err
	}
	if err := store.AddPubKey(id, key.GetPublic()); err != nil {
		return nil, err
	}
	bus := eventbus.NewBus()
	net, err := swarm.NewSwarm(id, store, bus)
	if err != nil {
		return nil, err
	}
	if err := addTransports(net, key, options); err != nil {
		return nil, err
	}
	host, err := basichost.NewHost(net, &basichost.HostOpts{
		EventBus:        bus,
		EnablePing:      true,
		UserAgent:       "go-libp2p/" + libraryVersion(),
		ProtocolVersion: "stronghold-interop/1.0.0",
	})
	if err != nil {
		return nil, err
	}
	if err := startHost(host, options.listen); err != nil {
		return nil, err
	}
	return host, addCircuits(host, key, options.earlyMuxer, options.relays)
}

func startHost(host *basichost.BasicHost, listen []string) error {
	for _, text := range listen {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			return err
		}
		if err := host.Network().Listen(addr); err != nil {
			return err
		}
	}
	host.Start()
	return nil
}

func addTransports(net *swarm.Swarm, key crypto.PrivKey, options hostOptions) error {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	security, err := newNoise(key, muxers, options.earlyMuxer)
	if err != nil {
		return err
	}
	upgrade, err := newUpgrader(security, muxers)
	if err != nil {
		return err
	}
	bare, err := tcp.NewTCPTransport(upgrade, &network.NullResourceManager{}, nil)
	if err != nil {
		return err
	}
	secure, err := webOptions(options)
	if err != nil {
		return err
	}
	web, err := websocket.New(upgrade, &network.NullResourceManager{}, nil, secure...)
	if err != nil {
		return err
	}
	return errors.Join(net.AddTransport(bare), net.AddTransport(web))
}

// webOptions are what secure WebSocket needs: a certificate to listen with, and whom to trust.
func webOptions(options hostOptions) ([]websocket.Option, error) {
	var found []websocket.Option
	if options.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(options.tlsCert, options.tlsKey)
		if err != nil {
			return nil, err
		}
		found = append(found, websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}}))
	}
	if options.ca != "" {
		data, err := os.ReadFile(options.ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate", options.ca)
		}
		found = append(found, websocket.WithTLSClientConfig(&tls.Config{RootCAs: pool}))
	}
	return found, nil
}

func newUpgrader(security sec.SecureTransport, muxers []upgrader.StreamMuxer) (transport.Upgrader, error) {
	return upgrader.New([]sec.SecureTransport{security}, muxers, nil, &network.NullResourceManager{}, nil)
}

func newNoise(key crypto.PrivKey, muxers []upgrader.StreamMuxer, early string) (sec.SecureTransport, error) {
	switch early {
	case "", earlyMuxer:
		return noise.New(protocol.ID(noise.ID), key, muxers)
	case earlyMuxerEmpty:
		return noise.New(protocol.ID(noise.ID), key, nil)
	case earlyMuxerAbsent:
		secure, err := noise.New(protocol.ID(noise.ID), key, nil)
		if err != nil {
			return nil, err
		}
		// A session transport without early data handlers sends a payload without extensions.
		return secure.WithSessionOptions()
	}
	return nil, fmt.Errorf("unknown early muxer mode %q", early)
}

func newKey(name string) (crypto.PrivKey, error) {
	if name == "" {
		name = "ed25519"
	}
	kind, ok := keyTypes[name]
	if !ok {
		return nil, fmt.Errorf("unknown key type %q", name)
	}
	key, _, err := crypto.GenerateKeyPairWithReader(kind, 2048, rand.Reader)
	return key, err
}

// libraryVersion is the version of go-libp2p that this program was built with.
func libraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/libp2p/go-libp2p" {
			return module.Version
		}
	}
	return "unknown"
}
