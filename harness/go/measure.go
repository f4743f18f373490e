package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

func measureConnect(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	n := options.count(20)
	opened, err := connectTimes(ctx, to, n, false)
	if err != nil {
		return nil, err
	}
	echoed, err := connectTimes(ctx, to, n, true)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"median_ms": millis(quantile(opened, 0.5)), "min_ms": millis(opened[0]), "p90_ms": millis(quantile(opened, 0.9)),
		"fb_median_ms": millis(quantile(echoed, 0.5)), "fb_min_ms": millis(echoed[0]), "fb_p90_ms": millis(quantile(echoed, 0.9)),
	}, nil
}

func connectTimes(ctx context.Context, to target, n int, firstByte bool) ([]time.Duration, error) {
	times := make([]time.Duration, n)
	for i := range times {
		took, err := connectOnce(ctx, to, firstByte)
		if err != nil {
			return nil, err
		}
		times[i] = took
	}
	slices.Sort(times)
	return times, nil
}

func connectOnce(ctx context.Context, to target, firstByte bool) (time.Duration, error) {
	h, err := newHost(hostOptions{ca: to.ca})
	if err != nil {
		return 0, err
	}
	defer h.Close()
	begin := time.Now()
	if err := h.Connect(ctx, to.info); err != nil {
		return 0, err
	}
	stream, err := target{host: h, info: to.info}.open(ctx, echoProtocol)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	if firstByte {
		if err := pingPong(stream, []byte{0x5a}, make([]byte, 1)); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func measureUpload(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	if _, err := perf(ctx, to, warmUpBytes, 0, options.payload(chunkSize)); err != nil {
		return nil, err
	}
	took, err := perf(ctx, to, options.bytes, 0, options.payload(chunkSize))
	if err != nil {
		return nil, err
	}
	return throughput(options.bytes, took.total), nil
}

func measureDownload(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	if _, err := perf(ctx, to, 0, warmUpBytes, options.payload(chunkSize)); err != nil {
		return nil, err
	}
	took, err := perf(ctx, to, 0, options.bytes, options.payload(chunkSize))
	if err != nil {
		return nil, err
	}
	return throughput(options.bytes, took.total-took.upload), nil
}

func throughput(transferred int64, took time.Duration) map[string]any {
	return map[string]any{
		"bytes": transferred, "seconds": took.Seconds(), "mb_per_s": float64(transferred) / 1e6 / took.Seconds(),
	}
}

func measureRoundTrip(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	stream, err := to.open(ctx, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	payload := randomBytes(options.payload(32))
	answer := make([]byte, len(payload))
	for range warmUpRequests {
		if err := pingPong(stream, payload, answer); err != nil {
			return nil, err
		}
	}
	times := make([]time.Duration, options.count(2000))
	for i := range times {
		begin := time.Now()
		if err := pingPong(stream, payload, answer); err != nil {
			return nil, err
		}
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return map[string]any{"median_us": micros(quantile(times, 0.5)), "p99_us": micros(quantile(times, 0.99))}, nil
}

func measureSequential(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	payload := randomBytes(options.payload(64))
	times := make([]time.Duration, options.count(2000))
	if err := warmUp(ctx, to, payload); err != nil {
		return nil, err
	}
	begin := time.Now()
	for i := range times {
		start := time.Now()
		if err := request(ctx, to, requestProtocol, payload); err != nil {
			return nil, err
		}
		times[i] = time.Since(start)
	}
	total := time.Since(begin)
	slices.Sort(times)
	return map[string]any{
		"req_per_s": float64(len(times)) / total.Seconds(),
		"median_ms": millis(quantile(times, 0.5)), "p99_ms": millis(quantile(times, 0.99)),
	}, nil
}

func measureConcurrent(ctx context.Context, to target, options clientOptions) (map[string]any, error) {
	payload := randomBytes(options.payload(64))
	times := make([]time.Duration, options.count(5000))
	var next, failed atomic.Int64
	var firstError atomic.Pointer[error]
	var workers sync.WaitGroup
	if err := warmUp(ctx, to, payload); err != nil {
		return nil, err
	}
	begin := time.Now()
	for range options.c {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(times)); i = next.Add(1) - 1 {
				start := time.Now()
				if err := request(ctx, to, requestProtocol, payload); err != nil {
					failed.Add(1)
					firstError.CompareAndSwap(nil, &err)
				}
				times[i] = time.Since(start)
			}
		})
	}
	workers.Wait()
	total := time.Since(begin)
	if failure := firstError.Load(); failure != nil {
		return nil, fmt.Errorf("%d of %d failed, the first: %w", failed.Load(), len(times), *failure)
	}
	slices.Sort(times)
	return map[string]any{
		"req_per_s": float64(len(times)) / total.Seconds(), "p99_ms": millis(quantile(times, 0.99)), "failed": 0,
	}, nil
}

func warmUp(ctx context.Context, to target, payload []byte) error {
	for range warmUpRequests {
		if err := request(ctx, to, requestProtocol, payload); err != nil {
			return err
		}
	}
	return nil
}

// request sends payload on a stream of its own, ends it, and wants the same bytes back.
func request(ctx context.Context, to target, protocolName string, payload []byte) error {
	stream, err := to.open(ctx, protocolName)
	if err != nil {
		return err
	}
	if err := exchange(stream, payload); err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}

func exchange(stream network.Stream, payload []byte) error {
	if _, err := stream.Write(payload); err != nil {
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

func pingPong(stream network.Stream, payload, answer []byte) error {
	if _, err := stream.Write(payload); err != nil {
		return err
	}
	if _, err := io.ReadFull(stream, answer); err != nil {
		return err
	}
	if !bytes.Equal(answer, payload) {
		return fmt.Errorf("wrong echo")
	}
	return nil
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// quantile takes sorted durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*q))]
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

func micros(d time.Duration) float64 { return d.Seconds() * 1e6 }
