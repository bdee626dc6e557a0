package sampling

// state is what a question is doing. It is guarded by Sampler.mu.
//
//	resting -> reading      a read, or an opening, begins
//	reading -> resting      it is completed, or handed to its batch
//	reading -> telling      it did not return at its deadline
//	telling -> stuck        that was told as its failure
//	stuck -> telling        its time has come again, and it still has not returned
//	stuck -> resting        it has returned
//	telling -> reading      it has returned while that is told
type state int

const (
	// resting waits for its time.
	resting state = iota
	// reading has a read, or an opening, in flight.
	reading
	// stuck has a read that did not return at its deadline, and waits for its
	// time. A second read beside it would be against the contract.
	stuck
	// telling is about to have that failure told.
	telling
)

// busy is true while a snapshot is about to come.
func (s state) busy() bool { return s == reading || s == telling }

// late is true while a read has not returned that should have.
func (s state) late() bool { return s == stuck || s == telling }

// completed is the state once a snapshot stands.
func (s state) completed() state {
	if s.late() {
		return stuck
	}
	return resting
}

// returned is the state once the late read has returned.
func (s state) returned() state {
	if s.busy() {
		return reading
	}
	return resting
}
