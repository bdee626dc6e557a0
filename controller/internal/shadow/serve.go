package shadow

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/controller/equivalence"
)

// pageSize is how many objects one answer has.
const pageSize = 500

// ServeHTTP tells what was compared:
//
//	GET /shadow?namespace=shop&after=ScaledObject/shop/worker
//
// Who may ask is for whoever mounts it to say.
func (s *Shadow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Document(r.Context(), query.Get("namespace"), query.Get("after"))) // the client went away: nobody is left to tell
}

// Document is a page of what was compared, of one namespace or with "" of all;
// after is what the page before said to continue with.
func (s *Shadow) Document(ctx context.Context, namespace, after string) equivalence.Document {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		// Nobody is told of objects, so that nothing is held up by the lease.
		s.mu.Unlock()
		mode, leader := s.Mode(ctx)
		s.mu.Lock()
		return equivalence.Document{Mode: mode, Leader: leader}
	}
	d := equivalence.Document{Mode: equivalence.Shadow, Leader: s.leader, Since: s.since, Time: s.looked, Untold: s.untold}
	var all []id
	for of := range s.entries {
		if namespace == "" || of.key.Namespace == namespace {
			all = append(all, of)
		}
	}
	slices.SortFunc(all, id.compare)
	if after != "" {
		begins, _ := slices.BinarySearchFunc(all, parse(after), id.compare)
		if begins < len(all) && all[begins].String() == after {
			begins++
		}
		all = all[begins:]
	}
	if len(all) > pageSize {
		all = all[:pageSize]
		d.Continue = all[pageSize-1].String()
	}
	for _, of := range all {
		d.Objects = append(d.Objects, s.entries[of].told)
	}
	return d
}

func (i id) compare(other id) int {
	return cmp.Or(cmp.Compare(i.kind, other.kind), cmp.Compare(i.key.Namespace, other.key.Namespace), cmp.Compare(i.key.Name, other.key.Name))
}

func (i id) String() string { return i.kind + "/" + i.key.String() }

func parse(text string) (i id) {
	i.kind, text, _ = strings.Cut(text, "/")
	i.key.Namespace, i.key.Name, _ = strings.Cut(text, "/")
	return i
}
