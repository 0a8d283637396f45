// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (n *Nodes) validate(path *field.Path) field.ErrorList {
	errs := append(validMode(path.Child("mode"), n.Mode), n.validateProvider(path)...)
	errs = append(errs, atLeast(path.Child("unneededTime"), n.UnneededTime, 0)...)
	errs = append(errs, n.validateRemovals(path)...)
	errs = append(errs, atLeast(path.Child("delayAfterAdd"), n.DelayAfterAdd, 0)...)
	errs = append(errs, atLeast(path.Child("maxNodeProvisionTime"), n.MaxNodeProvisionTime, time.Second)...)
	errs = append(errs, atLeast(path.Child("simulationTimeout"), n.SimulationTimeout, 100*time.Millisecond)...)
	errs = append(errs, atLeast(path.Child("forecastTimeout"), n.ForecastTimeout, 0)...)
	if *n.MaxForecastPods < 0 {
		errs = append(errs, field.Invalid(path.Child("maxForecastPods"), *n.MaxForecastPods, "must not be negative"))
	}
	errs = append(errs, n.validateGrowth(path)...)
	names := sets.New[string]()
	for i := range n.Groups {
		at := path.Child("groups").Index(i)
		if names.Has(n.Groups[i].Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), n.Groups[i].Name))
		}
		names.Insert(n.Groups[i].Name)
		errs = append(errs, n.Groups[i].validate(at, n.Provider)...)
	}
	return errs
}

func (n *Nodes) validateProvider(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch n.Provider {
	case NoProvider:
		if len(n.Groups) > 0 {
			errs = append(errs, field.Required(path.Child("provider"), "groups need a provider"))
		}
	case Kwok, ClusterAPI, ExternalGRPC:
		if n.SchedulerConfigFile == "" {
			errs = append(errs, field.Required(path.Child("schedulerConfigFile"), "the simulation runs the scheduler's own profiles"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("provider"), n.Provider, []Provider{Kwok, ClusterAPI, ExternalGRPC}))
	}
	if at := path.Child("externalGRPC"); n.Provider == ExternalGRPC {
		errs = append(errs, n.ExternalGRPC.validate(at)...)
	} else if n.ExternalGRPC != (ExternalGRPCProvider{Timeout: n.ExternalGRPC.Timeout}) {
		errs = append(errs, field.Forbidden(at, "is for the provider externalgrpc only"))
	}
	if n.Provider != ClusterAPI && n.ClusterAPI != (ClusterAPIProvider{}) {
		errs = append(errs, field.Forbidden(path.Child("clusterAPI"), "is for the provider clusterapi only"))
	}
	return errs
}

func (p *ExternalGRPCProvider) validate(path *field.Path) field.ErrorList {
	errs := atLeast(path.Child("timeout"), p.Timeout, 100*time.Millisecond)
	if _, _, err := net.SplitHostPort(p.Address); err != nil {
		errs = append(errs, field.Invalid(path.Child("address"), p.Address, "must be host:port"))
	}
	files := p.CertFile != "" || p.KeyFile != "" || p.CAFile != ""
	switch {
	case p.Insecure && files:
		errs = append(errs, field.Invalid(path.Child("insecure"), true, "must be false where certFile, keyFile or caFile is given"))
	case !p.Insecure && p.CAFile == "":
		errs = append(errs, field.Required(path.Child("caFile"), "the provider's certificate is checked, unless insecure is true"))
	case (p.CertFile == "") != (p.KeyFile == ""):
		errs = append(errs, field.Invalid(path.Child("certFile"), p.CertFile, "must be given together with keyFile"))
	}
	return errs
}

// validateGrowth checks how groups are chosen, and how far they grow together.
func (n *Nodes) validateGrowth(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := []Expander{LeastNodes, LeastWaste, MostPods, Price, Priority, Random}
	seen := sets.New[Expander]()
	for i, expander := range n.Expanders {
		at := path.Child("expanders").Index(i)
		if !sets.New(known...).Has(expander) {
			errs = append(errs, field.NotSupported(at, expander, known))
		} else if seen.Has(expander) {
			errs = append(errs, field.Duplicate(at, expander))
		}
		seen.Insert(expander)
	}
	if n.MaxNodesTotal != nil && *n.MaxNodesTotal < 1 {
		errs = append(errs, field.Invalid(path.Child("maxNodesTotal"), *n.MaxNodesTotal, "must be at least 1; leave it out for no bound"))
	}
	for name, limits := range map[string]TotalLimits{"cores": n.Cores, "memory": n.Memory} {
		if limits.Min != nil && limits.Min.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child(name, "min"), limits.Min.String(), "must not be negative"))
		}
		if limits.Min != nil && limits.Max != nil && limits.Max.Cmp(*limits.Min) < 0 {
			errs = append(errs, field.Invalid(path.Child(name, "max"), limits.Max.String(), fmt.Sprintf("must not be less than min (%s)", limits.Min)))
		}
	}
	for i, key := range n.StartupTaints {
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(path.Child("startupTaints").Index(i), key, msg))
		}
	}
	return errs
}

func (g *NodeGroup) validate(path *field.Path, provider Provider) field.ErrorList {
	errs := g.validateName(path.Child("name"), provider)
	if g.Min != nil && *g.Min < 0 {
		errs = append(errs, field.Invalid(path.Child("min"), *g.Min, "must not be negative"))
	}
	if least := max(0, value(g.Min)); g.Max != nil && *g.Max < least {
		errs = append(errs, field.Invalid(path.Child("max"), *g.Max, fmt.Sprintf("must not be less than min (%d)", least)))
	}
	if g.PricePerHour != nil && *g.PricePerHour < 0 {
		errs = append(errs, field.Invalid(path.Child("pricePerHour"), *g.PricePerHour, "must not be negative"))
	}
	if provider != Kwok {
		if g.Template != nil && (provider == ClusterAPI || provider == ExternalGRPC) {
			errs = append(errs, field.Forbidden(path.Child("template"), "the provider "+string(provider)+" tells itself what its nodes look like"))
		}
		return errs
	}
	if g.Max == nil {
		errs = append(errs, field.Required(path.Child("max"), "kwok needs to know how many nodes a group may have"))
	}
	if g.Template == nil {
		return append(errs, field.Required(path.Child("template"), "kwok needs to know what a node of the group looks like"))
	}
	return append(errs, g.Template.validate(path.Child("template"))...)
}

func (g *NodeGroup) validateName(path *field.Path, provider Provider) field.ErrorList {
	switch provider {
	case ClusterAPI:
		kinds := sets.New("MachineDeployment", "MachineSet", "MachinePool")
		parts := strings.Split(g.Name, "/")
		if len(parts) != 3 || !kinds.Has(parts[0]) || len(validation.IsDNS1123Label(parts[1])) > 0 ||
			parts[2] != "*" && len(validation.IsDNS1123Subdomain(parts[2])) > 0 {
			return field.ErrorList{field.Invalid(path, g.Name, "must be KIND/NAMESPACE/NAME, with a KIND of "+strings.Join(sets.List(kinds), ", ")+
				", the name of a namespace, and that of an object, or * for all of that namespace")}
		}
	case ExternalGRPC:
		if g.Name == "" {
			return field.ErrorList{field.Required(path, "the id that the provider gives the group")}
		}
	case Kwok, NoProvider:
		// The name begins the names of the group's nodes, with a dash and five letters behind it.
		if msgs := validation.IsDNS1123Label(g.Name); len(msgs) > 0 || len(g.Name) > 50 {
			return field.ErrorList{field.Invalid(path, g.Name, "must be a DNS label of at most 50 characters")}
		}
	}
	return nil
}

func (t *NodeTemplate) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key, value := range t.Labels {
		for _, msg := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
			errs = append(errs, field.Invalid(path.Child("labels").Key(key), value, msg))
		}
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	for i, taint := range t.Taints {
		if !sets.New(effects...).Has(taint.Effect) {
			errs = append(errs, field.NotSupported(path.Child("taints").Index(i).Child("effect"), taint.Effect, effects))
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods} {
		if quantity, ok := t.Capacity[name]; !ok || quantity.Sign() <= 0 {
			errs = append(errs, field.Required(path.Child("capacity").Key(string(name)), "must be more than zero"))
		}
	}
	for driver, limit := range t.Drivers {
		if limit < 0 {
			errs = append(errs, field.Invalid(path.Child("drivers").Key(driver), limit, "must not be negative; 0 is no limit"))
		}
	}
	for class, quantity := range t.Storage {
		if quantity.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child("storage").Key(class), quantity.String(), "must not be negative"))
		}
	}
	return errs
}

func value(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}
