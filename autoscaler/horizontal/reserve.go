// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

// Reserve is the most replicas that the next decisions may call for as far as is known now, which may be more than
// DesiredReplicas: what the metrics propose now, before rates limit it, and what they proposed within the longer of the
// stabilization windows, for load that was here a moment ago is likely to come back. It is never above maxReplicas, and zero for
// a target that is switched off, refused or not there.
func (d Decision) Reserve(in Input) int32 {
	if in.Scale.Absent != "" || in.Refused != "" || !in.Awake() {
		return 0
	}
	length := in.Config.DownscaleStabilization
	if behavior := in.HPA.Spec.Behavior; behavior != nil {
		length = max(window(behavior.ScaleUp, 0), window(behavior.ScaleDown, length))
	}
	most, cutoff := d.DesiredReplicas, in.Now.Add(-length)
	for _, r := range d.History.Recommendations { // that of now is among them
		if !r.Time.Before(cutoff) {
			most = max(most, r.Replicas)
		}
	}
	return min(most, max(in.HPA.Spec.MaxReplicas, d.DesiredReplicas))
}
