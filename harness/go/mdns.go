package main

import (
	"context"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
)

// finder tells each peer that mDNS finds as an event.
type finder struct{ happenings *happenings }

func (f finder) HandlePeerFound(found peer.AddrInfo) {
	f.happenings.add(fields{"event": "discovered", "peer": found.ID.String(), "addrs": texts(found.Addrs)})
}

// onHost has the addresses that are listened on at another IPv4 address than that of loopback.
func onHost(listen []string, host string) {
	for i, addr := range listen {
		listen[i] = strings.Replace(addr, "/127.0.0.1/", "/"+host+"/", 1)
	}
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
