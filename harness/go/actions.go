package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

func (d *driver) connect(ctx context.Context, c command) (fields, error) {
	info, err := peer.AddrInfoFromString(c.Addr)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := d.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	result := d.connectionsTo(info.ID)
	result["peer"] = info.ID.String()
	result["seconds"] = time.Since(begin).Seconds()
	return result, nil
}

func (d *driver) connections(_ context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	return d.connectionsTo(to.info.ID), nil
}

func (d *driver) connectionsTo(id peer.ID) fields {
	list := []fields{}
	for _, connection := range d.host.Network().ConnsToPeer(id) {
		list = append(list, connectionFields("connection", connection))
	}
	return fields{"connections": list}
}

func (d *driver) identify(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, d.happenings.wake)()
	answers := d.happenings.answers(to.info.ID, c.After, func() bool { return ctx.Err() != nil })
	if len(answers) <= c.After {
		return nil, fmt.Errorf("identify answered %d times: %w", len(answers), ctx.Err())
	}
	return d.identified(answers[len(answers)-1], len(answers))
}

// identified tells what the message held and what the peer store made of it.
func (d *driver) identified(last event.EvtPeerIdentificationCompleted, count int) (fields, error) {
	store := d.host.Peerstore()
	key, err := publicKey(store.PubKey(last.Peer))
	if err != nil {
		return nil, err
	}
	signed, err := signedRecord(last.SignedPeerRecord)
	if err != nil {
		return nil, err
	}
	result := fields{
		"count": count, "key": key, "listen_addrs": texts(last.ListenAddrs), "protocols": last.Protocols,
		"observed_addr": nil, "protocol_version": last.ProtocolVersion, "agent_version": last.AgentVersion,
		"signed_record": signed, "known_addrs": texts(store.Addrs(last.Peer)),
	}
	if last.ObservedAddr != nil {
		result["observed_addr"] = last.ObservedAddr.String()
	}
	return result, nil
}

// signedRecord tells what the record says; the envelope is nil unless identify has verified it for this peer.
func signedRecord(envelope *record.Envelope) (fields, error) {
	if envelope == nil {
		return nil, nil
	}
	content, err := envelope.Record()
	if err != nil {
		return nil, err
	}
	accepted, ok := content.(*peer.PeerRecord)
	if !ok {
		return nil, fmt.Errorf("the envelope holds %T", content)
	}
	return fields{"peer": accepted.PeerID.String(), "seq": accepted.Seq, "addrs": texts(accepted.Addrs)}, nil
}

func (d *driver) protocols(_ context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	known, err := d.host.Peerstore().GetProtocols(to.info.ID)
	return fields{"protocols": known}, err
}

func (d *driver) addProtocol(_ context.Context, c command) (fields, error) {
	register(d.host, protocol.ID(c.Protocol), serveEcho, d.happenings.streamEnded)
	return nil, nil
}

func (d *driver) removeProtocol(_ context.Context, c command) (fields, error) {
	d.host.RemoveStreamHandler(protocol.ID(c.Protocol))
	return nil, nil
}

func (d *driver) ping(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	times := []float64{}
	for result := range ping.Ping(network.WithNoDial(ctx, "test"), d.host, to.info.ID) {
		if result.Error != nil {
			return fields{"rtt_us": times}, result.Error
		}
		times = append(times, micros(result.RTT))
		if len(times) == c.count() {
			return fields{"rtt_us": times}, nil
		}
	}
	return fields{"rtt_us": times}, io.ErrUnexpectedEOF
}

func (d *driver) perf(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	times, err := perf(ctx, to, c.Up, c.Down, chunkSize)
	return fields{"upload_seconds": times.upload.Seconds(), "seconds": times.total.Seconds()}, err
}

func (d *driver) takeEvents(context.Context, command) (fields, error) {
	return fields{"events": d.happenings.take()}, nil
}

func (d *driver) takeWarnings(context.Context, command) (fields, error) {
	return fields{"warnings": d.warnings.take()}, nil
}

func (d *driver) closePeer(_ context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	return nil, d.host.Network().ClosePeer(to.info.ID)
}

func (d *driver) closeHost(context.Context, command) (fields, error) {
	begin := time.Now()
	err := d.host.Close()
	return fields{"seconds": time.Since(begin).Seconds()}, err
}
