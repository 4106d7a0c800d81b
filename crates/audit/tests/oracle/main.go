// Command oracle checks a log with Go's own note and tlog packages, which share no code with ours.
//
// Usage: oracle DIR VKEY. DIR holds a log; DIR/old is an older checkpoint, DIR/consistency the proof from it, one hash
// a line; DIR/receipts/* are receipts, each beside a file .entry with the entry it is for.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type head struct {
	size int64
	root tlog.Hash
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	must(err)
	return data
}

func open(text []byte, verifiers note.Verifiers) head {
	n, err := note.Open(text, verifiers)
	must(err)
	lines := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return head{size, root}
}

func hashes(lines []string) []tlog.Hash {
	var all []tlog.Hash
	for _, line := range lines {
		raw, err := base64.StdEncoding.DecodeString(line)
		must(err)
		var hash tlog.Hash
		copy(hash[:], raw)
		all = append(all, hash)
	}
	return all
}

func bundle(n, size int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/", n%1000) + path
	}
	return path
}

func main() {
	dir := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	must(err)
	verifiers := note.VerifierList(verifier)
	now := open(read(filepath.Join(dir, "checkpoint")), verifiers)

	// Every entry, hashed anew.
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	for first := int64(0); first < now.size; first += 256 {
		path := filepath.Join(dir, "tile/entries", bundle(first/256, now.size))
		if now.size-first < 256 {
			path += fmt.Sprintf(".p/%d", now.size-first)
		}
		data := read(path)
		for n := first; n < now.size && n < first+256; n++ {
			length := binary.BigEndian.Uint16(data)
			more, err := tlog.StoredHashes(n, data[2:2+length], reader)
			must(err)
			stored = append(stored, more...)
			data = data[2+length:]
		}
		if len(data) != 0 {
			must(fmt.Errorf("%s is too long", path))
		}
	}
	root, err := tlog.TreeHash(now.size, reader)
	must(err)
	if root != now.root {
		must(fmt.Errorf("root is %v, signed is %v", root, now.root))
	}

	// The older head is a prefix.
	old := open(read(filepath.Join(dir, "old")), verifiers)
	proof := hashes(strings.Fields(string(read(filepath.Join(dir, "consistency")))))
	must(tlog.CheckTree(proof, now.size, now.root, old.size, old.root))

	// Receipts hold for their entries.
	receipts, err := filepath.Glob(filepath.Join(dir, "receipts/*.tlog-proof"))
	must(err)
	for _, path := range receipts {
		parts := bytes.SplitN(read(path), []byte("\n\n"), 2)
		lines := strings.Split(string(parts[0]), "\n")
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
		must(err)
		signed := open(parts[1], verifiers)
		entry := read(strings.TrimSuffix(path, ".tlog-proof") + ".entry")
		must(tlog.CheckRecord(hashes(lines[2:]), signed.size, signed.root, index, tlog.RecordHash(entry)))
	}
	fmt.Printf("%d entries, %d receipts\n", now.size, len(receipts))
}
