// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// Options takes the server's word for what it sets. A threshold of 0 cannot be
// told from none, nor a time to provision of 0 from an oversight.
func (g *nodeGroup) Options(ctx context.Context, defaults cloud.Options) (cloud.Options, error) {
	p, request := g.provider, &protos.NodeGroupAutoscalingOptionsRequest{Id: g.Group.Name, Defaults: wireOptions(defaults)}
	answer, err := call(ctx, p.connection, "NodeGroupGetOptions", g.Group.Name, p.client.NodeGroupGetOptions, request)
	if untold(err) {
		return defaults, nil
	}
	if err != nil {
		return cloud.Options{}, err
	}
	wrong := func(got any, field, want string) error {
		return &AnswerError{Group: g.Group.Name, Call: "NodeGroupGetOptions", Got: fmt.Sprintf("%s %v", field, got), Want: want}
	}
	own, options := answer.GetNodeGroupAutoscalingOptions(), defaults
	if own == nil {
		return defaults, nil
	}
	threshold := own.GetScaleDownUtilizationThreshold()
	if !(threshold >= 0 && threshold <= 1) {
		return cloud.Options{}, wrong(threshold, "scaleDownUtilizationThreshold", "0 to 1")
	}
	if threshold > 0 {
		options.UtilizationThreshold = threshold
	}
	for _, field := range []struct {
		name    string
		told    *durationpb.Duration
		encoded []byte
		least   time.Duration
		option  *time.Duration
	}{
		{"scaleDownUnneededTime", own.GetScaleDownUnneededDuration(), own.ScaleDownUnneededTime, 0, &options.UnneededTime},
		{"scaleDownUnreadyTime", own.GetScaleDownUnreadyDuration(), own.ScaleDownUnreadyTime, 0, &options.UnreadyTime},
		{"maxNodeProvisionTime", own.GetMaxNodeProvisionDuration(), own.MaxNodeProvisionTime, 1, &options.MaxNodeProvisionTime},
	} {
		duration, told, err := durationOf(field.told, field.encoded)
		if err != nil {
			return cloud.Options{}, wrong(err, field.name, "a duration")
		}
		if duration < 0 {
			return cloud.Options{}, wrong(duration, field.name, "0 or more")
		}
		if told && duration >= field.least {
			*field.option = duration
		}
	}
	return options, nil
}

// durationOf reads the field of newer servers, or the one of older ones.
func durationOf(told *durationpb.Duration, encoded []byte) (duration time.Duration, ok bool, err error) {
	if told != nil {
		return told.AsDuration(), true, told.CheckValid()
	}
	if encoded == nil {
		return 0, false, nil
	}
	var old metav1.Duration
	if err := old.Unmarshal(encoded); err != nil {
		return 0, false, err
	}
	return old.Duration, true, nil
}

// wireOptions sets the fields of newer and of older servers. The threshold of
// nodes with GPUs is the same, for there is but one here.
func wireOptions(o cloud.Options) *protos.NodeGroupAutoscalingOptions {
	return &protos.NodeGroupAutoscalingOptions{
		ScaleDownUtilizationThreshold: o.UtilizationThreshold, ScaleDownGpuUtilizationThreshold: o.UtilizationThreshold,
		ScaleDownUnneededTime: oldDuration(o.UnneededTime), ScaleDownUnneededDuration: durationpb.New(o.UnneededTime),
		ScaleDownUnreadyTime: oldDuration(o.UnreadyTime), ScaleDownUnreadyDuration: durationpb.New(o.UnreadyTime),
		MaxNodeProvisionTime: oldDuration(o.MaxNodeProvisionTime), MaxNodeProvisionDuration: durationpb.New(o.MaxNodeProvisionTime),
	}
}

// oldDuration is a duration as older servers read it.
func oldDuration(d time.Duration) []byte {
	old := metav1.Duration{Duration: d}
	// It cannot fail: the size is right.
	encoded, _ := old.Marshal()
	return encoded
}
