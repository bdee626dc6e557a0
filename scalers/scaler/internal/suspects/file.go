package suspects

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	// entries is how many endpoints are noted at once; further ones are not.
	entries = 2048
	// longestName fits a host name and a port.
	longestName = 264
	// magic tells this layout from others.
	magic = 0x534c5543_00000001
)

// layout is the file.
type layout struct {
	magic  uint64
	closed atomic.Int32 // 1 after the process has ended as it should
	_      int32
	list   [entries]entry
}

// What an entry's alone says.
const (
	no      int32 = iota
	itWaits       // it is to be tried alone
	itsTurn       // it is being tried alone
)

// entry is one endpoint. It is changed in the file itself, and what is there
// when the process ends is what the next one finds.
type entry struct {
	reads     atomic.Int32 // that are under way
	alone     atomic.Int32 // whether nothing else suspect may be read beside it
	strikes   atomic.Int32 // how often it was the culprit
	times     atomic.Int32 // how often it was suspect
	heard     atomic.Int64 // when it sent something last, in ns since 1970
	until     atomic.Int64 // when it may be connected to
	suspected atomic.Int64 // the last time
	used      int32        // 1 while a page is about it
	length    int32
	text      [longestName]byte
}

func (e *entry) name() string {
	return string(e.text[:min(max(e.length, 0), longestName)])
}

func (e *entry) wipe() {
	for _, n := range []*atomic.Int32{&e.reads, &e.alone, &e.strikes, &e.times} {
		n.Store(0)
	}
	for _, n := range []*atomic.Int64{&e.heard, &e.until, &e.suspected} {
		n.Store(0)
	}
	e.used, e.length = 0, 0
	clear(e.text[:])
}

// remembered is true for an entry that the next process still needs.
func (e *entry) remembered(now time.Time) bool {
	return e.alone.Load() != no || e.times.Load() > 0 && now.Sub(time.Unix(0, e.suspected.Load())) < forgiven
}

// file is the memory, mapped. Names and use are guarded by the book's lock.
type file struct {
	bytes  []byte
	layout *layout
	byName map[string]*entry
}

// openFile maps the file, and makes it where there is none.
func openFile(path string) (*file, error) {
	size := int(unsafe.Sizeof(layout{}))
	disk, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(size) { // none, or that of another version
		if err := disk.Truncate(0); err != nil {
			return nil, err
		}
		// Written, and not only made that long: a full disk is to be found now.
		if _, err := disk.WriteAt(make([]byte, size), 0); err != nil {
			return nil, err
		}
	}
	bytes, err := syscall.Mmap(int(disk.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	f := &file{bytes: bytes, layout: (*layout)(unsafe.Pointer(&bytes[0])), byName: map[string]*entry{}}
	if f.layout.magic != magic {
		clear(bytes)
		f.layout.magic = magic
		f.layout.closed.Store(1)
	}
	return f, nil
}

func (f *file) closed() bool { return f.layout.closed.Load() == 1 }

// known are the endpoints that the process before left.
func (f *file) known() (all []*entry) {
	for i := range f.layout.list {
		if e := &f.layout.list[i]; e.length > 0 {
			all = append(all, e)
		}
	}
	return all
}

// begin keeps what is still needed of them.
func (f *file) begin(now time.Time) {
	for _, e := range f.known() {
		if !e.remembered(now) {
			e.wipe()
			continue
		}
		e.used = 0
		e.reads.Store(0)
		e.heard.Store(0)
		e.alone.CompareAndSwap(itsTurn, itWaits)
		f.byName[e.name()] = e
	}
	f.layout.closed.Store(0)
}

// take returns the entry of an endpoint, nil where there is no room.
func (f *file) take(name string) *entry {
	if len(name) > longestName || name == "" {
		return nil
	}
	if e := f.byName[name]; e != nil {
		e.used = 1
		return e
	}
	e := f.free()
	if e == nil {
		return nil
	}
	delete(f.byName, e.name())
	e.wipe()
	copy(e.text[:], name)
	e.length, e.used = int32(len(name)), 1
	f.byName[name] = e
	return e
}

// free is an entry that nobody uses or needs.
func (f *file) free() *entry {
	now := time.Now()
	for i := range f.layout.list {
		if e := &f.layout.list[i]; e.used == 0 && (e.length == 0 || !e.remembered(now)) {
			return e
		}
	}
	return nil
}

// release gives an entry back. Its name stays until somebody needs the room.
func (f *file) release(e *entry) {
	if e != nil {
		e.used = 0
	}
}
