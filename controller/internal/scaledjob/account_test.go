package scaledjob

import (
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

func TestAccount(t *testing.T) {
	f := newFixture(t, newObject())
	f.Told = kept.New(1<<20, 1<<30)
	if _, ok := f.Account(key); ok {
		t.Error("an account before any decision")
	}
	f.reads(0, 0)
	f.run()
	f.reads(0, 3)
	f.run()
	told, ok := f.Account(key)
	if !ok || !strings.HasPrefix(told.Last.String(), "3 Jobs start, 0 ran: s0-queue 3 at 1 asks for 3") || len(told.Earlier) != 1 || told.Earlier[0].Last.Create != 0 {
		t.Errorf("%+v", told)
	}
	if f.Told.Used(key.Namespace) == 0 {
		t.Error("what is kept is not counted")
	}
	f.ForgetAll()
	if _, ok := f.Account(key); ok {
		t.Error("an account after another process led")
	}
}
