// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import "context"

func (c *Conductor) upstreamUpdater(context.Context) string { return "" }
