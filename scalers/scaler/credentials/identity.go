package credentials

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// roleAnnotation names the AWS role of a service account.
const roleAnnotation = "eks.amazonaws.com/role-arn"

// identity checks the pod identity and takes a role from the workload where
// that is what it asks for.
func (w *work) identity(ctx context.Context, p *podIdentity) {
	if !p.lent() {
		return
	}
	if err := lending.CheckNamespace(w.ref.Namespace); err != nil {
		w.wrong.add("podIdentity", err)
		return
	}
	id := &w.creds.PodIdentity
	*id = PodIdentity{
		Provider:   p.Provider,
		IdentityID: text(p.IdentityID), TenantID: text(p.IdentityTenantID), AuthorityHost: text(p.IdentityAuthorityHost),
		RoleARN: text(p.RoleArn), ExternalID: text(p.ExternalID),
	}
	var wrong problems
	switch owner := text(p.IdentityOwner); p.Provider {
	case "azure-workload":
		if p.IdentityID != nil && id.IdentityID == "" {
			wrong.add("identityId", invalid("is empty; leave it out to use the installation's own"))
		}
		if id.AuthorityHost != "" && id.TenantID == "" {
			wrong.add("identityAuthorityHost", invalid("needs identityTenantId"))
		}
	case "aws":
		switch {
		case id.RoleARN != "" && owner == "workload":
			wrong.add("roleArn", invalid("cannot be given with identityOwner workload"))
		case owner == "workload":
			role, err := w.workloadRole(ctx)
			wrong.add("identityOwner", err)
			id.RoleARN = role
		case owner != "" && owner != "keda":
			wrong.add("identityOwner", invalid("%q is neither keda nor workload", owner))
		}
		if id.ExternalID != "" && id.RoleARN == "" && len(wrong.all) == 0 {
			wrong.add("externalID", invalid("needs roleArn"))
		}
	case "aws-eks":
		role, err := w.workloadRole(ctx)
		if status.Code(err) != codes.FailedPrecondition { // without a role it is the family's own
			wrong.add("provider aws-eks", err)
		}
		id.RoleARN = role
	case "gcp":
	default:
		wrong.add("provider", invalid("%q is not one of azure-workload, gcp, aws, aws-eks, none", p.Provider))
	}
	w.wrong.add("podIdentity", wrong.err(""))
}

// workloadRole reads the annotation of the workload's service account.
func (w *work) workloadRole(ctx context.Context) (string, error) {
	name := w.ref.ServiceAccount
	if name == "" {
		return "", words.Errorf(codes.FailedPrecondition, "the scale target has no Pod template, so no ServiceAccount whose role could be used")
	}
	if err := checkName("ServiceAccount", name); err != nil {
		return "", err
	}
	o := object{kind: "ServiceAccount", namespace: w.ref.Namespace, name: name}
	account, err := take(ctx, w, w.accounts, o, func(ctx context.Context) (*serviceAccount, time.Time, error) {
		a := new(serviceAccount)
		return a, time.Time{}, w.api.get(ctx, o, a)
	})
	if err != nil {
		return "", err
	}
	if role := account.Metadata.Annotations[roleAnnotation]; role != "" {
		return role, nil
	}
	return "", words.Errorf(codes.FailedPrecondition, "%s has no annotation %s", o, roleAnnotation)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
