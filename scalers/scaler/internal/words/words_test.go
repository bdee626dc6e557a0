package words

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestACredentialIsMaskedInWhatIsQuotedAlone(t *testing.T) {
	refused := Errorf(codes.Unauthenticated, "login refused: wrong user or password")
	tests := map[string]struct {
		err    error
		secret string
		want   string
	}{
		"a word of ours": {
			err: refused, secret: "wrong",
			want: "login refused: wrong user or password",
		},
		"a peer's text": {
			err: errors.New("wrong user guest:wrong"), secret: "wrong",
			want: "*** user guest:***",
		},
		"a status that is not of Errorf": {
			err: status.Error(codes.Unavailable, "refused wrong"), secret: "wrong",
			want: "rpc error: code = Unavailable desc = refused ***",
		},
		"ours around a peer's": {
			err: Errorf(codes.Unavailable, "the wrong answer: %w", errors.New("wrong answer")), secret: "wrong",
			want: "the wrong answer: *** answer",
		},
		"ours within ours": {
			err: Errorf(codes.Unauthenticated, "stream %s: %w", "stream-1", refused), secret: "stream",
			want: "stream ***-1: login refused: wrong user or password",
		},
		"ours within a wrapper that is not": {
			err: fmt.Errorf("wrong %w", refused), secret: "wrong",
			want: "*** login refused: wrong user or password",
		},
		"ours around a status": {
			err: Errorf(codes.Unavailable, "vault wrong: %w", status.Error(codes.Unavailable, "is wrong")), secret: "wrong",
			want: "vault wrong: is ***",
		},
		"a list": {
			err: Join(codes.Unavailable, "; ", []error{errors.New("wrong"), refused}), secret: "wrong",
			want: "***; login refused: wrong user or password",
		},
		"joined": {
			err: errors.Join(errors.New("wrong"), refused), secret: "wrong",
			want: "***\nlogin refused: wrong user or password",
		},
		"quoted": {
			err: fmt.Errorf("no user %q", `wr"ong\`), secret: `wr"ong\`,
			want: `no user "***"`,
		},
		"in an address": {
			err: errors.New("http://u:wr%2Fong%20@h/?q=wr%2Fong+"), secret: "wr/ong ",
			want: "http://u:***@h/?q=***",
		},
		"a percent sign": {
			err: Errorf(codes.Unavailable, "100 %% wrong: %d", 7), secret: "wrong",
			want: "100 % wrong: 7",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Mask(tt.err.Error(), tt.err, []string{tt.secret}); got != tt.want {
				t.Errorf("text = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorfIsAStatusWithItsCauses(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("around: %w", Errorf(codes.NotFound, "queue %s: %w", "orders", cause))
	if status.Code(err) != codes.NotFound || !errors.Is(err, cause) || err.Error() != "around: queue orders: cause" {
		t.Errorf("error = %v, code %v", err, status.Code(err))
	}
}
