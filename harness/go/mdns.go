package main

import (
	"context"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
)

// finder tells each peer that mDNS finds as an event.
type finder struct{ happenings *happenings }

func (f finder) HandlePeerFound(found peer.AddrInfo) {
	f.happenings.add(fields{"event": "discovered", "peer": found.ID.String(), "addrs": texts(found.Addrs)})
}

// startMdns announces the host on the LAN, and looks for others there.
func startMdns(host *basichost.BasicHost, told *happenings) (mdns.Service, error) {
	service := mdns.NewMdnsService(host, "", finder{told})
	return service, service.Start()
}

// closeMdns says goodbye, which closing the host does not.
func (d *driver) closeMdns(context.Context, command) (fields, error) {
	return nil, d.mdns.Close()
}
