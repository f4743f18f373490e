package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/gologshim"
)

// identifyLogger is the name under which go-libp2p's identify logs; it tells refused fields at debug level only.
const identifyLogger = "net/identify"

// warnings keeps go-libp2p's log lines of level warning and above, and those of identify that tell of a failure.
type warnings struct {
	mu    sync.Mutex
	lines []string
	also  io.Writer
}

// collectWarnings must be called before go-libp2p logs for the first time; the lines go to also as well.
func collectWarnings(also io.Writer) *warnings {
	w := &warnings{also: also, lines: []string{}}
	gologshim.SetDefaultHandler(&warningHandler{Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})})
	return w
}

// Write receives one formatted line from slog.
func (w *warnings) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, strings.TrimSpace(string(line)))
	return w.also.Write(line)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.lines
	w.lines = []string{}
	return taken
}

type warningHandler struct {
	slog.Handler
	logger string
}

func (h *warningHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.logger == identifyLogger
}

func (h *warningHandler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelWarn && !tellsFailure(record) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

func (h *warningHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	logger := h.logger
	for _, attr := range attrs {
		if attr.Key == "logger" {
			logger = attr.Value.String()
		}
	}
	return &warningHandler{Handler: h.Handler.WithAttrs(attrs), logger: logger}
}

func tellsFailure(record slog.Record) bool {
	failed := strings.HasPrefix(record.Message, "failed") || strings.HasPrefix(record.Message, "error")
	record.Attrs(func(attr slog.Attr) bool {
		failed = failed || attr.Key == "err" || attr.Key == "error"
		return !failed
	})
	return failed
}
