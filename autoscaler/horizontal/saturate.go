// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import "math"

func saturate32(f float64) int32 { return saturate[int32](f, math.MinInt32, math.MaxInt32) }

func saturate64(f float64) int64 { return saturate[int64](f, math.MinInt64, math.MaxInt64) }

// saturate converts to the nearest number that fits; no number becomes 0. A plain conversion would leave it to the processor.
func saturate[I int32 | int64](f float64, least, most I) I {
	switch {
	case f >= float64(most):
		return most
	case f <= float64(least):
		return least
	case math.IsNaN(f):
		return 0
	}
	return I(f)
}
