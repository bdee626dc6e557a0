package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// failure puts err under what was read and from where, with the gRPC code that
// follows from it. What a server says beyond the first word of its error is
// not repeated: it quotes commands and users.
func failure(server, what string, err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.As(err, &known) {
		return scaler.Errorf(known.GRPCStatus().Code(), "%s: %w", what, err)
	}
	code, text := explain(err)
	return scaler.Errorf(code, "%s: %s: %w", what, server, scaler.Because(code, text, err))
}

// refusals are errors of Redis by the first word, and for ERR some further.
var refusals = []struct {
	prefix string
	code   codes.Code
	text   string
}{
	{"WRONGPASS", codes.Unauthenticated, "login refused: wrong user or password"},
	{"NOAUTH", codes.Unauthenticated, "login refused: a password is required"},
	{"ERR invalid password", codes.Unauthenticated, "login refused: wrong password"},
	{"ERR Client sent AUTH, but no password is set", codes.Unauthenticated, "login refused: the server has no password"},
	{"ERR AUTH", codes.Unauthenticated, "login refused: the server has no password"},
	{"NOPERM", codes.PermissionDenied, "the user lacks the permission for the key or a command that reads it"},
	{"WRONGTYPE", codes.FailedPrecondition, "is not of the kind that the trigger reads"},
	{"LOADING", codes.Unavailable, "is loading its data"},
	{"CLUSTERDOWN", codes.Unavailable, "the cluster is down"},
	{"MASTERDOWN", codes.Unavailable, "the master is down"},
	{"ERR This instance has cluster support disabled", codes.FailedPrecondition, "is not a cluster: use the trigger type without -cluster"},
	{"MOVED", codes.FailedPrecondition, "is a cluster: use the trigger type with -cluster"},
	{"ERR max number of clients", codes.Unavailable, "has no room for another client"},
	{"ERR The client ID", codes.Unavailable, "lost a connection"},
	{"ERR unknown command", codes.FailedPrecondition, "does not know a command that the trigger needs"},
	{"ERR DB index", codes.InvalidArgument, "databaseIndex: the server has no such database"},
}

// explain gives a failure its code and its words.
func explain(err error) (codes.Code, string) {
	var answered redis.Error
	var number *strconv.NumError
	code, text, known := (client.TLSParams{}).NetworkFailure(err)
	switch {
	case errors.Is(err, errNoSentinel) && known:
		return code, "no Sentinel answers: " + text
	case errors.Is(err, errNoSentinel):
		return codes.Unavailable, "no Sentinel answers, or none knows sentinelMaster"
	case known:
		return code, text
	case errors.Is(err, redis.ErrPoolTimeout):
		return codes.DeadlineExceeded, "no answer to earlier reads"
	case errors.As(err, &answered):
		return refused(answered.Error())
	case errors.As(err, &number), strings.Contains(err.Error(), "redis: can't "), strings.Contains(err.Error(), "redis: invalid "):
		return codes.Unavailable, "the answer is not one of Redis" // the library quotes it
	default:
		return codes.Unavailable, err.Error()
	}
}

func refused(text string) (codes.Code, string) {
	if known, code, text := refusalOf(text); known {
		return code, text
	}
	word, _, _ := strings.Cut(text, " ")
	return codes.Unavailable, "answered with the error " + word
}

// refusalOf looks for a server's error in what is known.
func refusalOf(text string) (known bool, code codes.Code, meaning string) {
	for _, r := range refusals {
		if strings.HasPrefix(text, r.prefix) {
			return true, r.code, r.text
		}
	}
	return false, codes.OK, ""
}
