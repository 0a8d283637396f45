// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NodeSelectorTerm reads and means the same as that of a pod's node affinity:
// all of its requirements hold. It is a type of its own because the API server
// judges only lists and texts that are bounded, and those of core/v1 are not.
//
// +structType=atomic
// +kubebuilder:validation:XValidation:rule="(has(self.matchExpressions) && size(self.matchExpressions) > 0) || (has(self.matchFields) && size(self.matchFields) > 0)",message="a term without requirements matches no node; name at least one label"
type NodeSelectorTerm struct {
	// MatchExpressions are requirements by the labels of a node.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []NodeLabelRequirement `json:"matchExpressions,omitempty"`
	// MatchFields are requirements by the fields of a node.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchFields []NodeFieldRequirement `json:"matchFields,omitempty"`
}

// NodeLabelRequirement is a requirement by a label of a node.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : true",message="operators In and NotIn need values"
// +kubebuilder:validation:XValidation:rule="self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : true",message="operators Exists and DoesNotExist take no values"
// +kubebuilder:validation:XValidation:rule="self.operator in ['Gt', 'Lt'] ? has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]{1,18}$') : true",message="operators Gt and Lt need one value, a whole number"
type NodeLabelRequirement struct {
	// Key is that of the label.
	//
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="must be the key of a node label, like topology.kubernetes.io/zone"
	Key string `json:"key"`
	// Operator is how the label of a node is compared with the values.
	//
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist;Gt;Lt
	Operator corev1.NodeSelectorOperator `json:"operator"`
	// Values are one or more for In and NotIn, one number for Gt and Lt, and
	// none for Exists and DoesNotExist.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Values []string `json:"values,omitempty"`
}

// NodeFieldRequirement is a requirement by a field of a node.
type NodeFieldRequirement struct {
	// Key is metadata.name.
	//
	// +kubebuilder:validation:Enum=metadata.name
	Key string `json:"key"`
	// Operator is In or NotIn.
	//
	// +kubebuilder:validation:Enum=In;NotIn
	Operator corev1.NodeSelectorOperator `json:"operator"`
	// Values is the name of one node.
	//
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Values []string `json:"values"`
}

func (t *NodeSelectorTerm) validate(path *field.Path) field.ErrorList {
	if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
		return field.ErrorList{field.Invalid(path, "", "a term without requirements matches no node; name at least one label")}
	}
	expressions, fields := path.Child("matchExpressions"), path.Child("matchFields")
	errs := atMost(expressions, len(t.MatchExpressions), maxRequirements)
	errs = append(errs, atMost(fields, len(t.MatchFields), maxRequirements)...)
	for i := range t.MatchExpressions {
		errs = append(errs, t.MatchExpressions[i].validate(expressions.Index(i))...)
	}
	for i := range t.MatchFields {
		errs = append(errs, t.MatchFields[i].validate(fields.Index(i))...)
	}
	return errs
}

func (r *NodeLabelRequirement) validate(path *field.Path) field.ErrorList {
	operators := map[corev1.NodeSelectorOperator]selection.Operator{
		corev1.NodeSelectorOpIn:           selection.In,
		corev1.NodeSelectorOpNotIn:        selection.NotIn,
		corev1.NodeSelectorOpExists:       selection.Exists,
		corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
		corev1.NodeSelectorOpGt:           selection.GreaterThan,
		corev1.NodeSelectorOpLt:           selection.LessThan,
	}
	operator, known := operators[r.Operator]
	if !known {
		return field.ErrorList{field.NotSupported(path.Child("operator"), r.Operator, []string{"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"})}
	}
	errs := atMost(path.Child("values"), len(r.Values), maxValues)
	_, err := labels.NewRequirement(r.Key, operator, r.Values, field.WithPath(path))
	if err == nil {
		return errs
	}
	// What is wrong is a list of field errors, wrapped up as one.
	if all, ok := errors.AsType[utilerrors.Aggregate](err); ok {
		for _, err := range all.Errors() {
			if one, ok := errors.AsType[*field.Error](err); ok {
				errs = append(errs, one)
			}
		}
	}
	if len(errs) == 0 {
		errs = append(errs, field.Invalid(path, r.Key, err.Error()))
	}
	return errs
}

func (r *NodeFieldRequirement) validate(path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("key"), r.Key, metav1.ObjectNameField)
	errs = append(errs, oneOf(path.Child("operator"), r.Operator, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn)...)
	if len(r.Values) != 1 || r.Values[0] == "" || len(r.Values[0]) > maxNodeName {
		errs = append(errs, field.Invalid(path.Child("values"), r.Values, "must be the name of one node"))
	}
	return errs
}
