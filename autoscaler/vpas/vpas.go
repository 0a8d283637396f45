// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vpas makes clients of VerticalPodAutoscalers that no quantity in one of them stops.
//
// The schema of the CRD accepts quantities that can not be read. To parse 1e-2147483647 takes for ever, and 1e1.5 is an error:
// either way no list is decoded that has such an object in it, and whoever may create a VPA would stop the autoscaling of
// the whole cluster. Here such a quantity is taken out of what the API server sends before it is decoded, as if
// it had not been written, and whoever made the client is told.
//
// Quantities are read of 30 characters at most, with an exponent of two digits at most:
// manifests/policies/vpa-quantities.yaml refuses the others.
package vpas

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/scheme"
	"k8s.io/client-go/rest"
)

// Ignored is a quantity that can not be read.
type Ignored struct {
	Namespace, Name string
	// Field is where it is, such as spec.resourcePolicy.containerPolicies[0].minAllowed.cpu.
	Field string
	// Value is the beginning of it.
	Value string
}

// NewForConfig returns clients of autoscaling.k8s.io/v1; those of other versions do not work. Tell is called for each quantity that
// is ignored, each time that it is read.
func NewForConfig(config *rest.Config, tell func(Ignored)) (vpaclient.Interface, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &vpav1.SchemeGroupVersion
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer{rest.CodecFactoryForGeneratedClient(scheme.Scheme, scheme.Codecs).WithoutConversion(), tell}
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of VerticalPodAutoscalers: %w", err)
	}
	return vpaclient.New(client), nil
}

// serializer decodes what can be read.
type serializer struct {
	runtime.NegotiatedSerializer
	tell func(Ignored)
}

func (s serializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return decoder{s.NegotiatedSerializer.DecoderToVersion(d, gv), s.tell}
}

type decoder struct {
	runtime.Decoder
	tell func(Ignored)
}

func (d decoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	return d.Decoder.Decode(readable(data, d.tell), defaults, into)
}

var (
	_ runtime.NegotiatedSerializer = serializer{}
	_ runtime.Decoder              = decoder{}
)
