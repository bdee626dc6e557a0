package sampling

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// shelf is a batch that gives each of its members its own number.
type shelf struct{ asked int }

type book struct {
	Member
	number float64
}

var errTorn = errors.New("torn")

func (s *shelf) ReadBatch(_ context.Context, sources []contract.Source, answer func(int, contract.Result)) error {
	s.asked++
	for i, source := range sources {
		if number := source.(*book).number; number >= 0 {
			answer(i, contract.Result{Readings: contract.One(number)})
		}
	}
	return errTorn // for those that were not answered
}

func TestAMemberByItselfIsReadAsABatchOfOne(t *testing.T) {
	s := &shelf{}
	whole, torn := Join(s, &book{number: 7}), Join(s, &book{number: -1})
	if whole.Batch() != contract.Batch(s) {
		t.Error("the member is of another batch")
	}
	readings, err := whole.Read(t.Context())
	if err != nil || len(readings) != 1 || readings[0].Value != 7 {
		t.Errorf("readings = %v, %v, want 7", readings, err)
	}
	if _, err := torn.Read(t.Context()); !errors.Is(err, errTorn) {
		t.Errorf("error = %v, want that of the batch", err)
	}
	if s.asked != 2 {
		t.Errorf("the batch was asked %d times, want 2", s.asked)
	}
}
