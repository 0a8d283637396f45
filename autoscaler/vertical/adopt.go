// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

// Adopt is the history with what another one knows of a VPA, if anything, in place of what was known of it.
// Both are taken over, as in Input.
func (h History) Adopt(other History, vpa Key) History {
	lineages, found := other.workloads[vpa]
	if !found {
		return h
	}
	if h.workloads == nil {
		h = newHistory()
	}
	h.workloads[vpa] = lineages
	return h
}
