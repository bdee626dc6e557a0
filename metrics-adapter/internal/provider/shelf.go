package provider

import "container/list"

// room is how much may be kept.
type room struct{ count, bytes int }

func (r room) less(o room) bool { return r.count < o.count || r.bytes < o.bytes }

// namespaced is a key that says in which namespace it is.
type namespaced interface {
	comparable
	namespace() string
}

// shelf keeps values within the room of each namespace and of all. What is beyond
// it goes, the oldest first: of the namespace that put one too many, or of the one
// that has the most. The zero value is ready to use, by one at a time.
type shelf[K namespaced, V any] struct {
	kept map[K]*list.Element
	of   map[string]*row
	all  room
}

// row has what is kept of one namespace, the oldest in front.
type row struct {
	items list.List
	has   room
}

type item[K namespaced, V any] struct {
	key   K
	value V
	bytes int
}

func (s *shelf[K, V]) len() int { return len(s.kept) }

func (s *shelf[K, V]) get(key K) (value V, found bool) {
	e, found := s.kept[key]
	if found {
		value = itemOf[K, V](e).value
	}
	return value, found
}

func itemOf[K namespaced, V any](e *list.Element) *item[K, V] { return e.Value.(*item[K, V]) }

// put keeps a value, as the newest, in place of the one of the same key. It returns
// the others that went for it, and the value itself where there is no room at all.
func (s *shelf[K, V]) put(key K, value V, bytes int, ofOne, inAll room) (gone []V) {
	s.remove(key)
	if bytes > ofOne.bytes || bytes > inAll.bytes {
		return []V{value}
	}
	if s.kept == nil {
		s.kept, s.of = map[K]*list.Element{}, map[string]*row{}
	}
	namespace := key.namespace()
	r := s.of[namespace]
	if r == nil {
		r = &row{}
		s.of[namespace] = r
	}
	s.kept[key] = r.items.PushBack(&item[K, V]{key, value, bytes})
	s.count(r, 1, bytes)
	for ofOne.less(r.has) {
		gone = append(gone, s.drop(r))
	}
	for inAll.less(s.all) {
		gone = append(gone, s.drop(s.most(inAll)))
	}
	return gone
}

func (s *shelf[K, V]) count(r *row, n, bytes int) {
	r.has.count += n
	r.has.bytes += bytes
	s.all.count += n
	s.all.bytes += bytes
}

// drop ends the oldest of a namespace.
func (s *shelf[K, V]) drop(r *row) V {
	oldest := itemOf[K, V](r.items.Front())
	s.remove(oldest.key)
	return oldest.value
}

// most is what is kept of the namespace with the most of what there is too much of.
func (s *shelf[K, V]) most(inAll room) (most *row) {
	for _, r := range s.of {
		more := most == nil || r.has.count > most.has.count
		if s.all.bytes > inAll.bytes {
			more = most == nil || r.has.bytes > most.has.bytes
		}
		if more {
			most = r
		}
	}
	return most
}

func (s *shelf[K, V]) remove(key K) {
	e, found := s.kept[key]
	if !found {
		return
	}
	r := s.of[key.namespace()]
	delete(s.kept, key)
	s.count(r, -1, -itemOf[K, V](e).bytes)
	r.items.Remove(e)
	if r.items.Len() == 0 {
		delete(s.of, key.namespace())
	}
}
