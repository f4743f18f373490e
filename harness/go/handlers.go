package main

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// The protocols of the peer contract.
const (
	perfProtocol    = "/perf/1.0.0"
	requestProtocol = "/bench/rr/1"
	echoProtocol    = "/bench/echo/1"
)

// The protocols that only the tests use.
const (
	sinkProtocol      = "/test/sink/1"      // reads to EOF, answers the number of bytes as a big-endian u64, closes
	sourceProtocol    = "/test/source/1"    // reads a big-endian u64, writes that many zero bytes, closes
	resetProtocol     = "/test/reset/1"     // reads one byte, then resets with resetCode
	halfCloseProtocol = "/test/halfclose/1" // closes its write side first, then reads to EOF
	holdProtocol      = "/test/hold/1"      // reads, and writes nothing, until the other side ends
	slowProtocol      = "/test/slow/1"      // as sink, but takes its time for each 16 KiB
)

const (
	resetCode = 0x2a
	chunkSize = 65536
	slowChunk = 16384
	slowPause = 5 * time.Millisecond
)

// handler serves one stream and says how many bytes it read. An error resets the stream.
type handler func(network.Stream) (int64, error)

// report learns how each served stream ended; nil where nobody asks.
type report func(stream network.Stream, received int64, err error)

func serveContract(h host.Host, done report) {
	register(h, perfProtocol, servePerf, done)
	register(h, requestProtocol, serveRequest, done)
	register(h, echoProtocol, serveEcho, done)
}

func serveTests(h host.Host, done report) {
	register(h, sinkProtocol, serveSink, done)
	register(h, sourceProtocol, serveSource, done)
	register(h, resetProtocol, serveReset, done)
	register(h, halfCloseProtocol, serveHalfClose, done)
	register(h, holdProtocol, serveHold, done)
	register(h, slowProtocol, serveSlow, done)
}

func register(h host.Host, name protocol.ID, serve handler, done report) {
	h.SetStreamHandler(name, func(stream network.Stream) {
		received, err := serve(stream)
		if err == nil {
			stream.Close()
		} else {
			stream.Reset()
		}
		if done != nil {
			done(stream, received, err)
		}
	})
}

func servePerf(stream network.Stream) (int64, error) {
	var wanted [8]byte
	if _, err := io.ReadFull(stream, wanted[:]); err != nil {
		return 0, err
	}
	received, err := discard(stream)
	if err != nil {
		return received, err
	}
	return received, writeZeros(stream, int64(binary.BigEndian.Uint64(wanted[:])), chunkSize)
}

func serveRequest(stream network.Stream) (int64, error) {
	request, err := io.ReadAll(stream)
	if err != nil {
		return int64(len(request)), err
	}
	_, err = stream.Write(request)
	return int64(len(request)), err
}

func serveEcho(stream network.Stream) (int64, error) {
	buffer := make([]byte, chunkSize)
	var received int64
	for {
		n, err := stream.Read(buffer)
		received += int64(n)
		if n > 0 {
			if _, err := stream.Write(buffer[:n]); err != nil {
				return received, err
			}
		}
		if err == io.EOF {
			return received, nil
		}
		if err != nil {
			return received, err
		}
	}
}

func serveSink(stream network.Stream) (int64, error) {
	return countTo(stream, stream)
}

func serveSlow(stream network.Stream) (int64, error) {
	return countTo(stream, slowly{stream})
}

func countTo(stream network.Stream, from io.Reader) (int64, error) {
	received, err := discard(from)
	if err != nil {
		return received, err
	}
	_, err = stream.Write(binary.BigEndian.AppendUint64(nil, uint64(received)))
	return received, err
}

// slowly is a reader that takes slowChunk bytes at most, and slowPause before each.
type slowly struct{ from io.Reader }

func (s slowly) Read(buffer []byte) (int, error) {
	time.Sleep(slowPause)
	return s.from.Read(buffer[:min(len(buffer), slowChunk)])
}

func serveSource(stream network.Stream) (int64, error) {
	var wanted [8]byte
	if _, err := io.ReadFull(stream, wanted[:]); err != nil {
		return 0, err
	}
	return 8, writeZeros(stream, int64(binary.BigEndian.Uint64(wanted[:])), chunkSize)
}

func serveReset(stream network.Stream) (int64, error) {
	n, err := io.ReadFull(stream, make([]byte, 1))
	if err != nil {
		return int64(n), err
	}
	return int64(n), stream.ResetWithError(resetCode)
}

func serveHalfClose(stream network.Stream) (int64, error) {
	if err := stream.CloseWrite(); err != nil {
		return 0, err
	}
	return discard(stream)
}

func serveHold(stream network.Stream) (int64, error) {
	return discard(stream)
}

func discard(reader io.Reader) (int64, error) {
	buffer := make([]byte, chunkSize)
	var received int64
	for {
		n, err := reader.Read(buffer)
		received += int64(n)
		if err == io.EOF {
			return received, nil
		}
		if err != nil {
			return received, err
		}
	}
}

func writeZeros(writer io.Writer, total int64, size int) error {
	chunk := make([]byte, size)
	for left := total; left > 0; {
		n, err := writer.Write(chunk[:min(left, int64(size))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
