// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

// Observed returns the history with what somebody else has made of the replicas since the decision before, which
// left so many: it uses up the same rate as if it had been written here. For those who decide
// and write nothing; whoever writes has Confirm.
func Observed(in Input, before int32) History {
	if in.Scale.Absent != "" || in.Scale.SpecReplicas == before {
		return in.History
	}
	return in.History.scaled(in, before, in.Scale.SpecReplicas)
}
