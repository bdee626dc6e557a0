package trigger

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Asked is the request of a client of the common contract. KEDA puts the value of
// the variable in place of its name and keeps the key, "passwordFromEnv"; the core
// sends names, and says with them of which kind the object is. Values become
// variables named like their keys, so that none is shown as a name, and may be
// secrets.
func Asked(ref *externalscaler.ScaledObjectRef) Request {
	metadata := ref.GetScalerMetadata()
	if metadata[scalerv1.KeyKind] != "" || metadata[scalerv1.KeyEnv] != "" || !scalerv1.NameVariable(metadata) {
		return Request{Ref: ref}
	}
	ref = proto.CloneOf(ref)
	req, env := Request{Ref: ref, values: map[string]string{}}, map[string]scalerv1.EnvVar{}
	for key, value := range metadata {
		if scalerv1.NamesVariable(key) && !scalerv1.IsReserved(key) {
			literal := strings.ReplaceAll(value, "$", "$$")
			env[key] = scalerv1.EnvVar{Value: &literal}
			ref.ScalerMetadata[key], req.values[key] = key, value
		}
	}
	text, err := scalerv1.EncodeEnv(env)
	if err != nil {
		panic("scaler: literals are refused: " + err.Error()) // each has exactly one field
	}
	ref.ScalerMetadata[scalerv1.KeyEnv] = text
	return req
}
