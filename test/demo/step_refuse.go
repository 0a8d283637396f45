// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/typed/autoscaling.k8s.io/v1"
	"k8s.io/client-go/rest"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// refuse: nobody gets two masters.
func (d *demo) refuse() story.Step {
	return story.Step{
		Title:    "a VPA on web, which has an HPA",
		Expected: "the API server refuses it and names the HPA",
		Play: func(ctx context.Context, _ *story.Progress) (story.Happening, error) {
			warnings, err := d.createVPA(ctx, fixture.VPA(web, fixture.Target("Deployment", web)))
			message, err := refused(err)
			var notes []string
			if message != "" {
				notes = append(notes, message)
			}
			for _, warning := range warnings {
				notes = append(notes, "with a warning: "+warning)
			}
			return story.Happening{Notes: notes}, err
		},
	}
}

// createVPA returns the warnings that the API server has for whoever creates it.
func (d *demo) createVPA(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler) (warnings, error) {
	var heard warnings
	config := rest.CopyConfig(d.REST)
	config.WarningHandler = &heard
	client, err := vpaclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	_, err = client.VerticalPodAutoscalers(d.namespace).Create(ctx, vpa, metav1.CreateOptions{})
	return heard, err
}

// warnings keeps what client-go would print into the middle of the story.
type warnings []string

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	if text != "" {
		*w = append(*w, text)
	}
}

// refused returns what the API server said when it refused, and an error where
// it did not, or for another reason.
func refused(err error) (string, error) {
	expected := `a refusal that names HorizontalPodAutoscaler "web"`
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return "", &story.Unexpected{Expected: expected, Actual: "the VPA was accepted"}
	case !errors.As(err, &status):
		return "", err
	case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `HorizontalPodAutoscaler "web"`):
		return "", &story.Unexpected{Expected: expected, Actual: err.Error()}
	}
	return status.Status().Message, nil
}
