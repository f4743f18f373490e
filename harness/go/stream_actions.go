package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

func (d *driver) streamsSequential(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for i := range c.count() {
		if err := request(ctx, to, c.protocol(requestProtocol), randomBytes(c.payload())); err != nil {
			return fields{"done": i}, fmt.Errorf("stream %d: %w", i, err)
		}
	}
	return fields{"done": c.count(), "seconds": time.Since(begin).Seconds()}, nil
}

// streamsConcurrent has every stream open with its first half sent before any of them goes on.
func (d *driver) streamsConcurrent(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	var all, opened sync.WaitGroup
	failures := make([]error, c.count())
	opened.Add(c.count())
	begin := time.Now()
	for i := range failures {
		all.Go(func() {
			failures[i] = inTwoHalves(ctx, to, c, &opened)
		})
	}
	all.Wait()
	return describeFailures(fields{"seconds": time.Since(begin).Seconds()}, failures), nil
}

func inTwoHalves(ctx context.Context, to target, c command, opened *sync.WaitGroup) error {
	payload := randomBytes(c.payload())
	half := len(payload) / 2
	stream, err := to.open(ctx, c.protocol(requestProtocol))
	if err == nil {
		_, err = stream.Write(payload[:half])
	}
	opened.Done()
	opened.Wait()
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Write(payload[half:]); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	if !bytes.Equal(answer, payload) {
		return fmt.Errorf("wrong answer: %d bytes for %d", len(answer), len(payload))
	}
	return nil
}

// openHold opens streams one after the other, so that the order of the failures tells which ones were refused.
func (d *driver) openHold(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	failures := make([]error, c.count())
	for i := range failures {
		stream, err := to.open(ctx, c.protocol(echoProtocol))
		if err == nil {
			err = sendByte(stream, !c.NoEcho)
		}
		if err == nil {
			err = stream.SetDeadline(time.Time{})
		}
		failures[i] = err
		if err == nil {
			d.keep(stream)
		} else if stream != nil {
			stream.Reset()
		}
	}
	return describeFailures(fields{}, failures), nil
}

func (d *driver) keep(stream network.Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = append(d.held, stream)
}

func (d *driver) checkHeld(_ context.Context, c command) (fields, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	failures := make([]error, len(d.held))
	for i, stream := range d.held {
		failures[i] = sendByte(stream, !c.NoEcho)
	}
	return describeFailures(fields{}, failures), nil
}

func (d *driver) release(_ context.Context, c command) (fields, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	released := len(d.held)
	if c.N > 0 {
		released = min(c.N, released)
	}
	for _, stream := range d.held[:released] {
		if c.Code != nil {
			stream.ResetWithError(network.StreamErrorCode(*c.Code))
		} else {
			stream.Close()
		}
	}
	d.held = d.held[released:]
	return fields{"done": released}, nil
}

func (d *driver) halfClose(ctx context.Context, c command) (fields, error) {
	if !c.RemoteFirst {
		c.N = 1
		return d.streamsSequential(ctx, c)
	}
	stream, err := d.open(ctx, c, halfCloseProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	early, err := discard(stream)
	if err != nil {
		return nil, fmt.Errorf("before the remote's end: %w", err)
	}
	if err := writeZeros(stream, int64(c.payload()), chunkSize); err != nil {
		return nil, fmt.Errorf("after the remote's end: %w", err)
	}
	return fields{"received": early, "sent": c.payload()}, stream.CloseWrite()
}

func (d *driver) reset(ctx context.Context, c command) (fields, error) {
	if c.Code == nil {
		return nil, fmt.Errorf("reset needs a code")
	}
	stream, err := d.open(ctx, c, echoProtocol)
	if err != nil {
		return nil, err
	}
	if err := sendByte(stream, !c.NoEcho); err != nil {
		return nil, err
	}
	return nil, stream.ResetWithError(network.StreamErrorCode(*c.Code))
}

// expectReset answers with the code of the reset; a stream that ends in any other way is an error.
func (d *driver) expectReset(ctx context.Context, c command) (fields, error) {
	stream, err := d.open(ctx, c, resetProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	if err := sendByte(stream, false); err != nil {
		return nil, err
	}
	received, err := discard(stream)
	result := fields{"received": received}
	if err == nil {
		return result, fmt.Errorf("the stream ended without a reset")
	}
	describeError(result, err)
	return result, nil
}

func (d *driver) source(ctx context.Context, c command) (fields, error) {
	stream, err := d.open(ctx, c, sourceProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if _, err := stream.Write(binary.BigEndian.AppendUint64(nil, uint64(c.Bytes))); err != nil {
		return nil, err
	}
	received, err := discard(stream)
	return fields{"received": received}, err
}

func (d *driver) sink(ctx context.Context, c command) (fields, error) {
	stream, err := d.open(ctx, c, sinkProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := writeZeros(stream, c.Bytes, chunkSize); err != nil {
		return nil, err
	}
	if err := stream.CloseWrite(); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(stream)
	if err == nil && len(answer) != 8 {
		err = fmt.Errorf("the count has %d bytes", len(answer))
	}
	if err != nil {
		return nil, err
	}
	return fields{"counted": binary.BigEndian.Uint64(answer)}, nil
}

// raw speaks on a new stream without any negotiation of go-libp2p's.
func (d *driver) raw(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	data, err := hex.DecodeString(c.Send)
	if err != nil {
		return nil, err
	}
	stream, err := d.host.Network().NewStream(network.WithNoDial(ctx, "test"), to.info.ID)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if deadline, ok := ctx.Deadline(); ok {
		stream.SetDeadline(deadline)
	}
	if _, err := stream.Write(data); err != nil {
		return nil, err
	}
	answer := make([]byte, c.Want)
	n, err := io.ReadFull(stream, answer)
	return fields{"received": hex.EncodeToString(answer[:n])}, err
}

func (d *driver) bulkWithSmall(ctx context.Context, c command) (fields, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	up, down := c.Bytes, c.Down
	finished := make(chan struct{})
	latencies := make([][]time.Duration, c.Others)
	failures := make([]error, c.Others)
	var small sync.WaitGroup
	for i := range c.Others {
		small.Go(func() { latencies[i], failures[i] = smallRequests(ctx, to, c, finished) })
	}
	times, err := perf(ctx, to, up, down, chunkSize)
	close(finished)
	small.Wait()
	if err != nil {
		return nil, err
	}
	result := describeFailures(fields{
		"seconds": times.total.Seconds(), "mb_per_s": float64(up+down) / 1e6 / times.total.Seconds(),
		"least_answers": leastAnswers(latencies),
	}, failures)
	if all := slices.Sorted(slices.Values(slices.Concat(latencies...))); len(all) > 0 {
		result["answers"] = len(all)
		result["median_ms"] = millis(quantile(all, 0.5))
		result["worst_ms"] = millis(all[len(all)-1])
	}
	return result, nil
}

// smallRequests sends 64 bytes and reads them back, on one stream, again and again until the bulk transfer is over.
func smallRequests(ctx context.Context, to target, c command, finished chan struct{}) ([]time.Duration, error) {
	stream, err := to.open(ctx, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	payload := randomBytes(64)
	answer := make([]byte, len(payload))
	var times []time.Duration
	for {
		begin := time.Now()
		if err := pingPong(stream, payload, answer); err != nil {
			return times, err
		}
		times = append(times, time.Since(begin))
		select {
		case <-finished:
			return times, nil
		case <-time.After(time.Duration(max(c.PauseMS, 1)) * time.Millisecond):
		}
	}
}

func leastAnswers(latencies [][]time.Duration) int {
	least := 0
	for i, times := range latencies {
		if i == 0 || len(times) < least {
			least = len(times)
		}
	}
	return least
}

func (d *driver) open(ctx context.Context, c command, standard string) (network.Stream, error) {
	to, err := d.target(c)
	if err != nil {
		return nil, err
	}
	return to.open(ctx, c.protocol(standard))
}

// sendByte sends one byte and, where the other side echoes, reads it back.
func sendByte(stream network.Stream, echoed bool) error {
	if echoed {
		return pingPong(stream, []byte{0x5a}, make([]byte, 1))
	}
	_, err := stream.Write([]byte{0x5a})
	return err
}

// toldFailures bounds the answer line.
const toldFailures = 100

// describeFailures counts the failed ones, and tells the first of them with index, error and reset code.
func describeFailures(into fields, failures []error) fields {
	told := []fields{}
	failed := 0
	for i, err := range failures {
		if err == nil {
			continue
		}
		failed++
		if len(told) < toldFailures {
			entry := fields{"index": i}
			describeError(entry, err)
			told = append(told, entry)
		}
	}
	into["done"] = len(failures) - failed
	into["failed"] = failed
	into["failures"] = told
	return into
}
