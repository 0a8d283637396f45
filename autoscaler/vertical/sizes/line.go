// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package sizes

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The most digits of an amount: the policy's expression has the same numbers.
const (
	cpuDigits    = 10
	memoryDigits = 15
)

// line is a size as it is written.
type line struct {
	slot, container string
	amounts
}

// amounts are thousandths of a core and bytes; zero is nothing said.
type amounts struct {
	cpu, memory           int64
	cpuLimit, memoryLimit int64
}

// lineOf is false for a size that has nothing to say, or nowhere to say it.
func lineOf(s Size) (line, bool) {
	l := line{slot: s.Slot, container: s.Container}
	l.cpu, l.cpuLimit = pair(milli(s.Requests), milli(s.Limits))
	l.memory, l.memoryLimit = pair(bytes(s.Requests), bytes(s.Limits))
	return l, isWord(s.Slot) && isWord(s.Container) && (l.cpu > 0 || l.memory > 0)
}

// pair leaves a resource out that has no request, or a limit below it.
func pair(request, limit int64) (int64, int64) {
	if request == 0 || (limit > 0 && limit < request) {
		return 0, 0
	}
	return request, limit
}

func milli(list corev1.ResourceList) int64 {
	q := list[corev1.ResourceCPU]
	return within(q.MilliValue(), cpuDigits)
}

func bytes(list corev1.ResourceList) int64 {
	q := list[corev1.ResourceMemory]
	return within(q.Value(), memoryDigits)
}

// within is the amount, or nothing if it cannot be written.
func within(amount int64, digits int) int64 {
	if amount <= 0 || len(strconv.FormatInt(amount, 10)) > digits {
		return 0
	}
	return amount
}

// isWord tells whether a name can stand in a line: those of containers and slots can.
func isWord(name string) bool { return name != "" && !strings.ContainsAny(name, " \n") }

// String is the line with its end.
func (l line) String() string { return l.slot + " " + l.container + " " + l.text() + "\n" }

func (a amounts) text() string {
	return strings.Join([]string{write(a.cpu, "m"), write(a.memory, ""), write(a.cpuLimit, "m"), write(a.memoryLimit, "")}, " ")
}

func write(amount int64, unit string) string {
	if amount == 0 {
		return "-"
	}
	return strconv.FormatInt(amount, 10) + unit
}

// parseLine reads what String writes, and nothing else.
func parseLine(text string) (Size, bool) {
	words := strings.Split(text, " ")
	if len(words) != 6 || words[0] == "" || words[1] == "" {
		return Size{}, false
	}
	s := Size{Slot: words[0], Container: words[1]}
	for i, list := range []*corev1.ResourceList{&s.Requests, &s.Limits} {
		cpu, ok := read(words[2+2*i], "m", cpuDigits)
		if !ok {
			return Size{}, false
		}
		memory, ok := read(words[3+2*i], "", memoryDigits)
		if !ok {
			return Size{}, false
		}
		put(list, corev1.ResourceCPU, resource.NewMilliQuantity(cpu, resource.DecimalSI))
		put(list, corev1.ResourceMemory, resource.NewQuantity(memory, resource.BinarySI))
	}
	return s, true
}

func read(word, unit string, digits int) (int64, bool) {
	if word == "-" {
		return 0, true
	}
	number, ok := strings.CutSuffix(word, unit)
	if !ok || number == "" || len(number) > digits || number[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(number) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	amount, err := strconv.ParseInt(number, 10, 64)
	return amount, err == nil
}

func put(list *corev1.ResourceList, name corev1.ResourceName, q *resource.Quantity) {
	if q.IsZero() {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = *q
}
