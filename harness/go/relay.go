package main

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	circuits "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
)

// relayOptions says what part a host plays in circuits: none unless circuits or relay is set.
type relayOptions struct {
	circuits  bool // dial through relays, and be reached through them
	relay     bool // be one
	unlimited bool
	data      int64         // bytes each way; 0 is go's default
	duration  time.Duration // 0 is go's default
}

// addCircuits gives a host the circuit transport and, if it is asked for, the relay service.
func addCircuits(h host.Host, key crypto.PrivKey, early string, options relayOptions) error {
	if options.relay {
		if _, err := relay.New(h, limits(options)); err != nil {
			return err
		}
	}
	if !options.circuits {
		return nil
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	security, err := newNoise(key, muxers, early)
	if err != nil {
		return err
	}
	upgrade, err := newUpgrader(security, muxers)
	if err != nil {
		return err
	}
	return circuits.AddTransport(h, upgrade)
}

func limits(options relayOptions) relay.Option {
	if options.unlimited {
		return relay.WithInfiniteLimits()
	}
	limit := relay.DefaultLimit()
	if options.data > 0 {
		limit.Data = options.data
	}
	if options.duration > 0 {
		limit.Duration = options.duration
	}
	return relay.WithLimit(limit)
}

// reserve asks the relay at an address for a reservation, which lasts as long as the connection.
func (d *driver) reserve(ctx context.Context, c command) (fields, error) {
	info, err := peer.AddrInfoFromString(c.Addr)
	if err != nil {
		return nil, err
	}
	if err := d.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	got, err := circuits.Reserve(ctx, d.host, *info)
	if err != nil {
		return nil, err
	}
	return fields{
		"seconds":        time.Until(got.Expiration).Seconds(),
		"addrs":          texts(got.Addrs),
		"limit_data":     got.LimitData,
		"limit_duration": got.LimitDuration.Seconds(),
		"voucher":        got.Voucher != nil,
	}, nil
}

// onCircuits lets a command open streams on limited connections, which go does for nobody who has not said so.
func onCircuits(ctx context.Context) context.Context {
	return network.WithAllowLimitedConn(ctx, "interop")
}
