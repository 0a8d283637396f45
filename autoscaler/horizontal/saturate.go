// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import "math"

// saturate32 converts to the nearest number that fits; no number becomes 0. A plain conversion would leave it to the processor.
func saturate32(f float64) int32 {
	switch {
	case f >= math.MaxInt32:
		return math.MaxInt32
	case f <= math.MinInt32:
		return math.MinInt32
	case math.IsNaN(f):
		return 0
	}
	return int32(f)
}

func saturate64(f float64) int64 {
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	case math.IsNaN(f):
		return 0
	}
	return int64(f)
}
