package cloudevents

// room is how much waits, and of whom.
type room struct {
	most, all int
	of        map[string]int // who has nothing waiting has no entry
}

func newRoom(most int) *room { return &room{most: most, of: map[string]int{}} }

// enter takes a place of somebody's, who may have as many as are free: of a few
// who take all they can, each gets as much as it leaves to others.
func (r *room) enter(who string) bool {
	if r.of[who] >= r.most-r.all {
		return false
	}
	r.put(who)
	return true
}

func (r *room) put(who string) {
	r.of[who]++
	r.all++
}

// leave gives a place back.
func (r *room) leave(who string) {
	r.all--
	if r.of[who]--; r.of[who] == 0 {
		delete(r.of, who)
	}
}

// inFavorOf is who gives a place to another one where there is none: whoever has
// the most, unless that would only turn the tables.
func (r *room) inFavorOf(another string) (who string, ok bool) {
	most := 0
	for name, n := range r.of {
		if n > most || n == most && name < who {
			who, most = name, n
		}
	}
	return who, most > r.of[another]+1
}
