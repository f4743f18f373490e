package main

import (
	"encoding/hex"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
)

// happenings collects what the host tells between two events commands, and each peer's identify answers.
type happenings struct {
	mu         sync.Mutex
	changed    *sync.Cond
	list       []fields
	identified map[peer.ID][]event.EvtPeerIdentificationCompleted
}

func watch(host *basichost.BasicHost) (*happenings, error) {
	h := &happenings{identified: map[peer.ID][]event.EvtPeerIdentificationCompleted{}, list: []fields{}}
	h.changed = sync.NewCond(&h.mu)
	kinds := []any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed), new(event.EvtPeerProtocolsUpdated),
	}
	subscription, err := host.EventBus().Subscribe(kinds, eventbus.BufSize(1024))
	if err != nil {
		return nil, err
	}
	go func() {
		for happened := range subscription.Out() {
			h.busEvent(happened)
		}
	}()
	host.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { h.add(connectionFields("connected", c)) },
		DisconnectedF: func(_ network.Network, c network.Conn) { h.add(connectionFields("disconnected", c)) },
	})
	return h, nil
}

func (h *happenings) busEvent(happened any) {
	switch e := happened.(type) {
	case event.EvtPeerIdentificationCompleted:
		h.mu.Lock()
		h.identified[e.Peer] = append(h.identified[e.Peer], e)
		h.changed.Broadcast()
		h.mu.Unlock()
		h.add(fields{"event": "identified", "peer": e.Peer.String()})
	case event.EvtPeerIdentificationFailed:
		h.add(fields{"event": "identify_failed", "peer": e.Peer.String(), "error": e.Reason.Error()})
	case event.EvtPeerProtocolsUpdated:
		h.add(fields{"event": "protocols_updated", "peer": e.Peer.String(), "added": e.Added, "removed": e.Removed})
	}
}

// streamEnded reports how a served stream ended: the bytes read, and the error with its reset code if it was none of EOF.
func (h *happenings) streamEnded(stream network.Stream, received int64, err error) {
	ended := fields{
		"event": "stream", "protocol": stream.Protocol(), "peer": stream.Conn().RemotePeer().String(), "bytes": received,
	}
	if err != nil {
		describeError(ended, err)
	}
	h.add(ended)
}

// streamFailed is streamEnded for the protocols of which tests open thousands.
func (h *happenings) streamFailed(stream network.Stream, received int64, err error) {
	if err != nil {
		h.streamEnded(stream, received, err)
	}
}

func (h *happenings) add(happened fields) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, happened)
}

func (h *happenings) take() []fields {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.list
	h.list = []fields{}
	return taken
}

// answers waits until a peer has answered identify more than after times, or stop says that the time is over.
func (h *happenings) answers(id peer.ID, after int, stop func() bool) []event.EvtPeerIdentificationCompleted {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.identified[id]) <= after && !stop() {
		h.changed.Wait()
	}
	return h.identified[id]
}

func (h *happenings) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed.Broadcast()
}

func connectionFields(name string, c network.Conn) fields {
	state := c.ConnState()
	return fields{
		"event": name, "peer": c.RemotePeer().String(), "remote_addr": c.RemoteMultiaddr().String(),
		"local_addr": c.LocalMultiaddr().String(), "direction": c.Stat().Direction.String(), "streams": len(c.GetStreams()),
		"security": state.Security, "muxer": state.StreamMultiplexer, "early_muxer": state.UsedEarlyMuxerNegotiation,
	}
}

func publicKey(key crypto.PubKey) (fields, error) {
	if key == nil {
		return nil, nil
	}
	encoded, err := crypto.MarshalPublicKey(key)
	if err != nil {
		return nil, err
	}
	return fields{"type": key.Type().String(), "protobuf": hex.EncodeToString(encoded)}, nil
}

func texts(addrs []ma.Multiaddr) []string {
	result := make([]string, len(addrs))
	for i, addr := range addrs {
		result[i] = addr.String()
	}
	return result
}
