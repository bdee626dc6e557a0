package amazon

import (
	"errors"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Failure is the failure of a call in words for the user: which call of which
// service, and the code of the answer, such as "SQS GetQueueAttributes:
// AccessDenied". The message that AWS sends along may repeat the signed
// request, so it is left out. Where credentials could not be had, the call is
// the one that was to bring them. Nil stays nil.
func Failure(err error) error {
	if err == nil {
		return nil
	}
	if own := outcome.Own(err); own != nil {
		return own
	}
	var answer smithy.APIError
	var response *smithyhttp.ResponseError
	call := lastCall(err)
	switch {
	case call == instanceMetadata:
		return words.Errorf(codes.Unauthenticated, "aws: the process has no identity: neither keys nor a role of its ServiceAccount nor one of its node")
	case errors.As(err, &answer) && answer.ErrorCode() != unread:
		return words.Errorf(code(answer.ErrorCode(), err), "%s: %s", call, answer.ErrorCode())
	case errors.As(err, &response) && response.HTTPStatusCode() >= 300:
		return words.Errorf(outcome.Code(response.HTTPStatusCode()), "%s: %s", call, outcome.Text(response.HTTPStatusCode()))
	default:
		code, cause := outcome.Unanswered(err)
		return words.Errorf(code, "%s: %s", call, cause)
	}
}

// unread is the library's code for a refusal that it cannot read.
const unread = "UnknownError"

// instanceMetadata is the last call of the chain that looks for an identity of
// the process.
const instanceMetadata = "ec2imds GetMetadata"

// lastCall is the innermost call that failed: that of STS within that of SQS.
func lastCall(err error) string {
	call := "aws"
	for {
		var operation *smithy.OperationError
		if !errors.As(err, &operation) {
			return call
		}
		call = operation.Service() + " " + operation.Operation()
		err = operation.Unwrap()
	}
}

// codesOf are the errors that all services share or that their pages name.
var codesOf = map[string]codes.Code{
	"AccessDenied": codes.PermissionDenied, "AccessDeniedException": codes.PermissionDenied,
	"AuthorizationError": codes.PermissionDenied, "NotAuthorized": codes.PermissionDenied,
	"OptInRequired": codes.PermissionDenied, "UnauthorizedOperation": codes.PermissionDenied,
	"KMS.AccessDeniedException": codes.PermissionDenied,

	"ExpiredToken": codes.Unauthenticated, "ExpiredTokenException": codes.Unauthenticated,
	"IncompleteSignature": codes.Unauthenticated, "InvalidAccessKeyId": codes.Unauthenticated,
	"InvalidClientTokenId": codes.Unauthenticated, "InvalidIdentityToken": codes.Unauthenticated,
	"InvalidSignatureException": codes.Unauthenticated, "MissingAuthenticationToken": codes.Unauthenticated,
	"IDPRejectedClaim": codes.Unauthenticated, "SignatureDoesNotMatch": codes.Unauthenticated,
	"UnrecognizedClientException": codes.Unauthenticated, "AuthFailure": codes.Unauthenticated,
	"IncompleteSignatureException": codes.Unauthenticated, "MissingAuthenticationTokenException": codes.Unauthenticated,
	"InvalidSecurity": codes.Unauthenticated,

	"AWS.SimpleQueueService.NonExistentQueue": codes.NotFound, "QueueDoesNotExist": codes.NotFound,
	"ResourceNotFound": codes.NotFound, "ResourceNotFoundException": codes.NotFound,
	"TableNotFoundException": codes.NotFound,

	"LimitExceededException": codes.Unavailable, "ProvisionedThroughputExceededException": codes.Unavailable,
	"RequestLimitExceeded": codes.Unavailable, "RequestThrottled": codes.Unavailable,
	"RequestThrottledException": codes.Unavailable, "SlowDown": codes.Unavailable,
	"Throttling": codes.Unavailable, "ThrottlingException": codes.Unavailable,
	"ThrottledException": codes.Unavailable, "TooManyRequestsException": codes.Unavailable,
}

// ofAccount are errors of a service that has had too many requests of an account.
// What a table or stream was read too often of is ProvisionedThroughputExceeded.
var ofAccount = map[string]bool{
	"Throttling": true, "ThrottlingException": true, "ThrottledException": true, "RequestThrottled": true, "RequestThrottledException": true,
	"TooManyRequestsException": true, "RequestLimitExceeded": true, "SlowDown": true, "LimitExceededException": true,
}

// ofTable are those with which DynamoDB refuses to query a table that is read more
// than it may be: the matter of whoever reads it.
var ofTable = map[string]bool{"Throttling": true, "ThrottlingException": true}

// Throttled is what a failure says about requests that are too many of an account
// in a region, nil for any other failure.
func Throttled(err error) *client.Throttling {
	var answer smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return nil
	}
	call, name := lastCall(err), ""
	if errors.As(err, &answer) && answer.ErrorCode() != unread {
		name = answer.ErrorCode()
		name = name[strings.LastIndexByte(name, '#')+1:]
	}
	pause, _ := client.RetryAfter(response.Response.Header)
	switch {
	case call == "DynamoDB Query" && ofTable[name]:
		return nil
	case ofAccount[name]:
		return &client.Throttling{Pause: pause, Said: call + ": " + name}
	case codesOf[name] != codes.OK: // it says what it is
		return nil
	}
	t := client.ThrottledHTTP(response.HTTPStatusCode(), response.Response.Header)
	if t != nil {
		t.Said = call + ": " + t.Said
	}
	return t
}

// code is what an error of a service means; an unknown one is judged by its
// status.
func code(name string, err error) codes.Code {
	name = name[strings.LastIndexByte(name, '#')+1:]
	if known, ok := codesOf[name]; ok {
		return known
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return outcome.Code(response.HTTPStatusCode())
	}
	return codes.Unavailable
}
