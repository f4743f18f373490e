// A DNS server on miekg/dns for the tests: it serves the records of a zone over UDP and TCP, and tells what it was asked.
//
// The first line on stdout is {"port": ..., "library": "..."}. Then each line on stdin is a command, answered by a line
// with the same id:
//
//	zone     text              the records to serve from now on, as in a zone file
//	raw      name hex          what follows the question in each answer about this name, as it is
//	mode     mode [type]       answer, silent, servfail, refused, or old (no EDNS); for questions of one type, or all
//	delay    seconds [type]    before each answer
//	queries                    what was asked since the last time: name, type, net, edns, id, and the port it came from;
//	                           sent is how many bytes were answered
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

type command struct {
	ID      int     `json:"id"`
	Cmd     string  `json:"cmd"`
	Text    string  `json:"text"`
	Name    string  `json:"name"`
	Hex     string  `json:"hex"`
	Mode    string  `json:"mode"`
	Type    string  `json:"type"`
	Seconds float64 `json:"seconds"`
}

type query struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Net  string `json:"net"`
	Edns int    `json:"edns"`
	ID   int    `json:"id"`
	Port string `json:"port"`
}

type server struct {
	mu      sync.Mutex
	records map[string][]dns.RR
	raw     map[string][]byte
	modes   map[string]string
	delays  map[string]time.Duration
	asked   []query
	sent    int
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) > 0 && arguments[0] == "drive" {
		arguments = arguments[1:]
	}
	flags := flag.NewFlagSet("dns", flag.ExitOnError)
	host := flags.String("host", "127.0.0.1", "the address to listen on")
	port := flags.String("port", "0", "the port to listen on; 0 is a free one")
	_ = flags.Parse(arguments)
	s := &server{}
	s.reset()
	stream, packets, err := listen(*host, *port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { _ = (&dns.Server{Listener: stream, Handler: s}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: s}).ActivateAndServe() }()
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(map[string]any{"port": stream.Addr().(*net.TCPAddr).Port, "library": library()})
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var c command
		answer := map[string]any{"ok": true}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			answer = map[string]any{"ok": false, "error": err.Error()}
		} else if err := s.do(c, answer); err != nil {
			answer = map[string]any{"ok": false, "error": err.Error()}
		}
		answer["id"] = c.ID
		_ = out.Encode(answer)
	}
}

// listen takes the same port for both: a free one for TCP may be taken for UDP, then another one is tried.
func listen(host, port string) (stream net.Listener, packets net.PacketConn, err error) {
	for i := 0; i < 20; i++ {
		if stream, err = net.Listen("tcp", net.JoinHostPort(host, port)); err != nil {
			return nil, nil, err
		}
		if packets, err = net.ListenPacket("udp", stream.Addr().String()); err == nil {
			return stream, packets, nil
		}
		stream.Close()
	}
	return nil, nil, err
}

func library() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/miekg/dns" {
				return module.Path + " " + module.Version
			}
		}
	}
	return "unknown"
}

func (s *server) reset() {
	s.records, s.raw = map[string][]dns.RR{}, map[string][]byte{}
	s.modes, s.delays = map[string]string{}, map[string]time.Duration{}
}

func (s *server) do(c command, answer map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.Cmd {
	case "zone":
		s.reset()
		parser := dns.NewZoneParser(strings.NewReader(c.Text), ".", "")
		parser.SetDefaultTTL(300)
		for record, ok := parser.Next(); ok; record, ok = parser.Next() {
			name := strings.ToLower(record.Header().Name)
			s.records[name] = append(s.records[name], record)
		}
		return parser.Err()
	case "raw":
		data, err := hex.DecodeString(c.Hex)
		s.raw[strings.ToLower(dns.Fqdn(c.Name))] = data
		return err
	case "mode":
		s.modes[c.Type] = c.Mode
	case "delay":
		s.delays[c.Type] = time.Duration(c.Seconds * float64(time.Second))
	case "queries":
		answer["queries"], answer["sent"] = append([]query{}, s.asked...), s.sent
		s.asked, s.sent = nil, 0
	default:
		return fmt.Errorf("no command %q", c.Cmd)
	}
	return nil
}

func (s *server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	question := request.Question[0]
	kind := dns.TypeToString[question.Qtype]
	size := dns.MinMsgSize
	s.mu.Lock()
	_, port, _ := net.SplitHostPort(w.RemoteAddr().String())
	q := query{Name: question.Name, Type: kind, Net: w.RemoteAddr().Network(), ID: int(request.Id), Port: port}
	if options := request.IsEdns0(); options != nil {
		size = int(options.UDPSize())
		q.Edns = size
	}
	s.asked = append(s.asked, q)
	mode := s.modes[kind]
	if mode == "" {
		mode = s.modes[""]
	}
	delay := s.delays[kind] + s.delays[""]
	raw, isRaw := s.raw[strings.ToLower(question.Name)]
	response := s.answer(request)
	s.mu.Unlock()
	time.Sleep(delay)
	switch {
	case mode == "silent":
		return
	case mode == "servfail":
		response = new(dns.Msg).SetRcode(request, dns.RcodeServerFailure)
	case mode == "refused":
		response = new(dns.Msg).SetRcode(request, dns.RcodeRefused)
	case mode == "old" && q.Edns > 0:
		response = new(dns.Msg).SetRcode(request, dns.RcodeFormatError)
	case isRaw:
		packed, _ := new(dns.Msg).SetReply(request).Pack()
		packed[7] = 1 // one record in the answer
		s.write(w, append(packed, raw...))
		return
	}
	if mode != "old" && q.Edns > 0 {
		response.SetEdns0(dns.DefaultMsgSize, false)
	}
	if q.Net == "udp" {
		response.Truncate(size)
	}
	packed, _ := response.Pack()
	s.write(w, packed)
}

func (s *server) write(w dns.ResponseWriter, message []byte) {
	_, _ = w.Write(message)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += len(message)
}

// answer holds the records of the name, or of those to which its CNAMEs lead; without any, the SOA of its zone.
func (s *server) answer(request *dns.Msg) *dns.Msg {
	response := new(dns.Msg).SetReply(request)
	response.RecursionAvailable = true
	question, name := request.Question[0], strings.ToLower(request.Question[0].Name)
	for i := 0; i < 8; i++ {
		next := ""
		for _, record := range s.records[name] {
			alias, isAlias := record.(*dns.CNAME)
			if isAlias {
				next = strings.ToLower(alias.Target)
			}
			if isAlias || record.Header().Rrtype == question.Qtype {
				response.Answer = append(response.Answer, record)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(s.records[name]) == 0 {
		response.Rcode = dns.RcodeNameError
	}
	for zone := name; len(response.Answer) == 0 && zone != ""; {
		for _, record := range s.records[zone] {
			if record.Header().Rrtype == dns.TypeSOA {
				response.Ns = append(response.Ns, record)
				return response
			}
		}
		if index := strings.Index(zone, "."); index >= 0 && index+1 < len(zone) {
			zone = zone[index+1:]
		} else {
			break
		}
	}
	return response
}
