// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package sizes

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func size(slot, container, cpu, memory, cpuLimit, memoryLimit string) Size {
	list := func(cpu, memory string) corev1.ResourceList {
		var out corev1.ResourceList
		for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
			if text != "" {
				q := resource.MustParse(text)
				put(&out, name, &q)
			}
		}
		return out
	}
	return Size{Slot: slot, Container: container, Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}
}

func TestString(t *testing.T) {
	tests := map[string]struct {
		sizes []Size
		want  string
	}{
		"no sizes":                     {},
		"any slot":                     {sizes: []Size{size("*", "db", "500m", "1Gi", "", "")}, want: "* db 500m 1073741824 - -\n"},
		"limits":                       {sizes: []Size{size("*", "db", "500m", "1Gi", "1", "1Gi")}, want: "* db 500m 1073741824 1000m 1073741824\n"},
		"one resource":                 {sizes: []Size{size("*", "db", "", "1Gi", "", "2Gi")}, want: "* db - 1073741824 - 2147483648\n"},
		"a slot goes first":            {sizes: []Size{size("*", "db", "1", "", "", ""), size("4", "db", "2", "", "", "")}, want: "4 db 2000m - - -\n* db 1000m - - -\n"},
		"ordinals in their order":      {sizes: []Size{size("10", "db", "1", "", "", ""), size("9", "db", "2", "", "", "")}, want: "9 db 2000m - - -\n10 db 1000m - - -\n"},
		"a slot like any other":        {sizes: []Size{size("3", "db", "1000m", "", "", ""), size("*", "db", "1", "", "", "")}, want: "* db 1000m - - -\n"},
		"the same container elsewhere": {sizes: []Size{size("3", "log", "1", "", "", ""), size("*", "db", "1", "", "", "")}, want: "3 log 1000m - - -\n* db 1000m - - -\n"},
		"fractions":                    {sizes: []Size{size("*", "db", "1500u", "1500m", "", "")}, want: "* db 2m 2 - -\n"},
		"nothing said":                 {sizes: []Size{size("*", "db", "", "", "", "")}},
		"a limit alone":                {sizes: []Size{size("*", "db", "", "", "1", "1Gi")}},
		"a limit below the request":    {sizes: []Size{size("*", "db", "2", "1Gi", "1", "2Gi")}, want: "* db - 1073741824 - 2147483648\n"},
		"too much":                     {sizes: []Size{size("*", "db", "1e9", "1e15", "", "")}},
		"the most":                     {sizes: []Size{size("*", "db", "9999999999m", "999999999999999", "", "")}, want: "* db 9999999999m 999999999999999 - -\n"},
		"below zero":                   {sizes: []Size{size("*", "db", "-1", "1", "", "")}, want: "* db - 1 - -\n"},
		"names that are none":          {sizes: []Size{size("", "db", "1", "", "", ""), size("1", "d b", "1", "", "", ""), size("1\n", "db", "1", "", "", "")}},
		"twice":                        {sizes: []Size{size("*", "db", "1", "", "", ""), size("*", "db", "1", "", "", "")}, want: "* db 1000m - - -\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff("v1 uid\n"+tc.want, Table{VPA: "uid", Sizes: tc.sizes}.String()); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	db := []Size{size("*", "db", "500m", "1Gi", "", "2Gi")}
	tests := map[string]struct {
		text string
		want Table
		none bool
	}{
		"empty":                 {none: true},
		"another version":       {text: "v2 uid\n* db 500m 1 - -\n", none: true},
		"no VPA":                {text: "v1 \n* db 500m 1 - -\n", none: true},
		"no sizes":              {text: "v1 uid", want: Table{VPA: "uid"}},
		"a size":                {text: "v1 uid\n* db 500m 1073741824 - 2147483648\n", want: Table{VPA: "uid", Sizes: db}},
		"no end":                {text: "v1 uid\n* db 500m 1073741824 - 2147483648", want: Table{VPA: "uid", Sizes: db}},
		"no unit":               {text: "v1 uid\n* db 500 1073741824 - 2147483648", want: Table{VPA: "uid"}},
		"unit of memory":        {text: "v1 uid\n* db 500m 1Gi - 2147483648", want: Table{VPA: "uid"}},
		"huge exponent":         {text: "v1 uid\n* db 1e-2147483647 1 - -", want: Table{VPA: "uid"}},
		"below zero":            {text: "v1 uid\n* db -5m 1 - -", want: Table{VPA: "uid"}},
		"zero":                  {text: "v1 uid\n* db 0m 1 - -", want: Table{VPA: "uid"}},
		"leading zero":          {text: "v1 uid\n* db 05m 1 - -", want: Table{VPA: "uid"}},
		"too many digits":       {text: "v1 uid\n* db 5m 1000000000000000 - -", want: Table{VPA: "uid"}},
		"too few words":         {text: "v1 uid\n* db 5m 1 -", want: Table{VPA: "uid"}},
		"too many words":        {text: "v1 uid\n* db 5m 1 - - -", want: Table{VPA: "uid"}},
		"the rest stays":        {text: "v1 uid\nwhat\n\n* db 500m 1073741824 - 2147483648\n* x", want: Table{VPA: "uid", Sizes: db}},
		"carriage return":       {text: "v1 uid\n* db 5m 1 - -\r\n", want: Table{VPA: "uid"}},
		"digits of other sorts": {text: "v1 uid\n* db ٥m 1 - -\n", want: Table{VPA: "uid"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := Parse(tc.text)
			if ok == tc.none {
				t.Fatalf("is a table: %t", ok)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOf(t *testing.T) {
	common, own := size("*", "db", "1", "", "", ""), size("4", "db", "2", "", "", "")
	table := Table{Sizes: []Size{own, common}}
	for slot, want := range map[string]Size{"4": own, "3": common, "": common} {
		if got, ok := table.Of(slot, "db"); !ok || cmp.Diff(want, got) != "" {
			t.Errorf("slot %q gets %v", slot, got)
		}
	}
	if got, ok := table.Of("4", "log"); ok {
		t.Errorf("a container without a size gets %v", got)
	}
}

// A slot reads what was written for it, whatever else is in the table.
func TestEverySlotFindsItsSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		table := random(r)
		read, ok := Parse(table.String())
		if !ok || read.VPA != table.VPA {
			t.Fatalf("not a table of %q:\n%s", table.VPA, table)
		}
		if again := read.String(); again != table.String() {
			t.Fatalf("written as\n%s\nread and written as\n%s", table, again)
		}
		for _, s := range table.Sizes {
			want, _ := lineOf(s)
			got, found := read.Of(s.Slot, s.Container)
			if l, _ := lineOf(got); !found || l.amounts != want.amounts {
				t.Fatalf("%s of slot %s is %v, want %v:\n%s", s.Container, s.Slot, got, s, table)
			}
		}
		r.Shuffle(len(table.Sizes), func(i, j int) { table.Sizes[i], table.Sizes[j] = table.Sizes[j], table.Sizes[i] })
		if other := table.String(); other != read.String() {
			t.Fatalf("in another order\n%s\nbefore\n%s", other, read)
		}
	}
}

// random is a table with one size for each container in each slot.
func random(r *rand.Rand) Table {
	table := Table{VPA: "uid"}
	amount := func(unit string) string { return strconv.FormatInt(1+r.Int64N(1000), 10) + unit }
	for c := range 1 + r.IntN(3) {
		common := size("*", fmt.Sprintf("c%d", c), amount("m"), amount("Mi"), "", "")
		table.Sizes = append(table.Sizes, common)
		for slot := range r.IntN(5) {
			own := common
			if r.IntN(3) > 0 {
				own = size("", common.Container, amount("m"), amount("Mi"), "2000", amount("Gi"))
			}
			own.Slot = strconv.Itoa(slot * 7)
			table.Sizes = append(table.Sizes, own)
		}
	}
	return table
}

func TestTablesStaySmall(t *testing.T) {
	sized := func(slots int) Table {
		table := Table{VPA: "6a0d439e-9f2b-4f7d-b1c5-6c2a3f0f8e11"}
		for c := range 3 {
			name := fmt.Sprintf("container-%d", c)
			table.Sizes = append(table.Sizes, size("*", name, "1500m", "8Gi", "3", "8Gi"))
			for slot := range slots {
				table.Sizes = append(table.Sizes, size(strconv.Itoa(slot), name, "2500m", "9Gi", "5", "9Gi"))
			}
		}
		return table
	}
	if n := len(sized(30).String()); n > 6<<10 {
		t.Errorf("30 ordinals of 3 containers take %d bytes", n)
	}
	crowd := sized(5000)
	text := crowd.String()
	if len(text) > MaxBytes || len(text) < MaxBytes-100 {
		t.Errorf("5000 ordinals of 3 containers take %d bytes, the most is %d", len(text), MaxBytes)
	}
	if n := strings.Count(text, "\n* "); n != 3 {
		t.Errorf("%d containers have a size for any slot", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("v1 uid\n4 db 5m 1 - -\n* db 500m 1073741824 1000m 2147483648\n")
	f.Add("v1 uid\n* db 1e-2147483647 1 - -\n* db 0m 1 - -\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, ok := Parse(text)
		if !ok {
			return
		}
		written := table.String()
		again, ok := Parse(written)
		if !ok || again.VPA != table.VPA {
			t.Fatalf("%q is written as %q", text, written)
		}
		if rewritten := again.String(); rewritten != written {
			t.Fatalf("%q is rewritten as %q", written, rewritten)
		}
	})
}
