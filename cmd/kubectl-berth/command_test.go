// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	sets := threeZones(set("db", 3), set("web-db", 1), set("mq", 2), pod("mq", 0).Obj()).policy(t, "db", toDB).policy(t, "kafka", kafka).
		policy(t, "sets", "selector: {matchLabels: {app: mq}}\n").policy(t, "wrong", kafka+"rules: [{ordinals: x, nodeSelectorTerms: []}]\n")
	tests := map[string]struct {
		world *world
		args  string
		words []string
		want  string
	}{
		"a set mistyped":       {args: "plan sts/dv", want: `StatefulSet "dv" not found in namespace "prod", which has db, mq`},
		"a set unlike others":  {args: "plan sts/postgresql", want: `StatefulSet "postgresql" not found in namespace "prod", which has mq, db, web-db`},
		"no sets":              {world: zones(), args: "plan sts/db", want: `StatefulSet "db" not found: namespace "prod" has none; name another one by -n`},
		"a policy mistyped":    {args: "plan pp/kafkas", want: `PlacementPolicy "kafkas" not found in namespace "prod", which has kafka`},
		"a policy for a set":   {args: "plan pp/db", want: `PlacementPolicy "db" is for a StatefulSet: see kubectl berth plan sts/db`},
		"holds of no set":      {args: "holds sts/dv", want: `StatefulSet "dv" not found in namespace "prod", which has db, mq`},
		"holds of a policy":    {args: "holds pp/db", want: `PlacementPolicy "db" is for a StatefulSet: see kubectl berth holds sts/db`},
		"holds everywhere":     {args: "holds sts/db -A", want: "a set is in one namespace: name it with -n, or leave it out with --all-namespaces\nSee 'kubectl berth holds --help' for usage"},
		"holds of two":         {args: "holds sts/db sts/mq", want: "\"sts/db sts/mq\" is no name; want it like sts/NAME\nSee 'kubectl berth holds --help' for usage"},
		"no right to claims":   {world: zones(set("db", 1)).but(forbidden("persistentvolumeclaims", "")), args: "holds -A", want: `listing PersistentVolumeClaims: persistentvolumeclaims is forbidden: User "jane" cannot list it` + remedyForbidden},
		"a policy for sets":    {args: "plan pp/sets", want: `PlacementPolicy "sets" selects StatefulSets: see kubectl berth plan sts/NAME`},
		"an invalid policy":    {args: "plan pp/wrong", want: `PlacementPolicy "wrong" is invalid and has no effect: see kubectl describe pp wrong -n prod`},
		"an operator's":        {args: "plan pp/kafka --replicas 3", want: `--replicas is for StatefulSets: how many pods PlacementPolicy "kafka" selects is up to the operator that makes them`},
		"a pod mistyped":       {args: "explain pod/mq-zero", want: `pod "mq-zero" not found in namespace "prod", which has mq-0`},
		"an HPA mistyped":      {world: scaled(hpa("web"), hpa("mq")), args: "explain hpa/wep", want: `HorizontalPodAutoscaler "wep" not found in namespace "prod", which has web`},
		"the canary":           {world: scaled(hpa("web")).from("berth-system"), args: "explain hpa/berth-canary", want: `HorizontalPodAutoscaler "berth-canary" scales nothing: it is the canary by which berth-autoscaler knows another HPA controller, and its conditions tell what it knows`},
		"no HPAs":              {args: "explain hpa web", want: `HorizontalPodAutoscaler "web" not found: namespace "prod" has none; name another one by -n`},
		"no right to HPAs":     {world: scaled(hpa("web")).but(forbidden("horizontalpodautoscalers", ns)), args: "explain hpa/web", want: `listing HorizontalPodAutoscalers: horizontalpodautoscalers.autoscaling is forbidden: User "jane" cannot list it` + remedyForbidden},
		"no right to a scale":  {world: scaled(hpa("web").of("example.com/v1", "Farm")), args: "explain hpa/web", want: `reading the scale of Farm/web: farms.example.com "web" is forbidden: User "jane" cannot get it` + remedyForbidden},
		"a VPA mistyped":       {world: sizedWorld(vpa("db").Obj()), args: "explain vpa/dv", want: `VerticalPodAutoscaler "dv" not found in namespace "prod", which has db`},
		"no VPAs":              {args: "explain vpa db", want: `VerticalPodAutoscaler "db" not found: namespace "prod" has none; name another one by -n`},
		"no kind of VPAs":      {world: sizedWorld().butVPAs(refusing("verticalpodautoscalers", servesNot)), args: "explain vpa/db", want: `VerticalPodAutoscaler "db" not found: the cluster serves no such kind; its CRD is not installed`},
		"no right to VPAs":     {world: sizedWorld().butVPAs(refusing("verticalpodautoscalers", forbids)), args: "explain vpa/db", want: `listing VerticalPodAutoscalers: verticalpodautoscalers.autoscaling.k8s.io is forbidden: User "jane" cannot list it` + remedyForbidden},
		"no such tuning":       {world: scaled(hpa("web")), args: "explain hpa/web --autoscaler-config /none.yaml", want: "--autoscaler-config: open /none.yaml: no such file or directory"},
		"a tuning not of ours": {world: scaled(hpa("web")), args: "explain hpa/web --autoscaler-config command_test.go", want: "--autoscaler-config command_test.go: "},
		"an ordinal too high":  {args: "explain db-3", want: `pod "db-3" not found: StatefulSet prod/db has 3 replicas, from ordinal 0; to see it scaled: kubectl berth plan sts/db --replicas N`},
		"no name":              {args: "plan", want: "want one name, like sts/NAME; got 0 words\nSee 'kubectl berth plan --help' for usage"},
		"an empty name":        {args: "explain pod/", want: "the name of the Pod is missing; want it like pod/NAME\nSee 'kubectl berth explain --help' for usage"},
		"an empty argument":    {words: []string{"explain", ""}, want: "the name of the Pod is missing; want it like pod/NAME\nSee 'kubectl berth explain --help' for usage"},
		"a kind of group only": {args: "explain node-group", want: "the name of the NodeGroup is missing; want it like node-group/NAME\nSee 'kubectl berth explain --help' for usage"},
		"a kind of pod only":   {args: "explain po", want: "the name of the Pod is missing; want it like pod/NAME\nSee 'kubectl berth explain --help' for usage"},
		"a kind of set only":   {args: "holds StatefulSet", want: "the name of the StatefulSet is missing; want it like sts/NAME\nSee 'kubectl berth holds --help' for usage"},
		"a kind of node only":  {args: "what-if drain node", want: "the name of the Node is missing; want it like node/NAME\nSee 'kubectl berth what-if drain --help' for usage"},
		"a kind to scale only": {args: "what-if scale deploy 3", want: "the name of the Deployment is missing; want it like deploy/NAME\nSee 'kubectl berth what-if scale --help' for usage"},
		"a name with a slash":  {args: "explain node/a/b", want: "\"node/a/b\" is no name of a Node; want it like node/NAME\nSee 'kubectl berth explain --help' for usage"},
		"two names":            {args: "plan sts/db sts/mq", want: "\"sts/db sts/mq\" is no name; want it like sts/NAME\nSee 'kubectl berth plan --help' for usage"},
		"another kind":         {args: "plan deployment/web", want: "\"deployment\" is not what this is for; want StatefulSet (sts/NAME) or PlacementPolicy (pp/NAME)\nSee 'kubectl berth plan --help' for usage"},
		"replicas below 0":     {args: "plan sts/db --replicas=-1", want: "--replicas -1 is below 0\nSee 'kubectl berth plan --help' for usage"},
		"a format unknown":     {args: "plan sts/db -o wide", want: "--output \"wide\" is not known; want table, yaml or json\nSee 'kubectl berth plan --help' for usage"},
		"a flag unknown":       {args: "explain db-0 --replicas 1", want: "unknown flag: --replicas\nSee 'kubectl berth explain --help' for usage"},
		"a command unknown":    {args: "paln sts/db", want: "unknown command \"paln\" for \"kubectl berth\"\n\nDid you mean this?\n\tplan\n"},
		"no right to volumes":  {world: zones(set("db", 1)).but(forbidden("persistentvolumes", "")), args: "plan sts/db", want: `listing PersistentVolumes: persistentvolumes is forbidden: User "jane" cannot list it` + remedyForbidden},
		"no such config":       {args: "plan sts/db --config /none.yaml", want: "--config: open /none.yaml: no such file or directory"},
		"a config not of ours": {args: "plan sts/db --config command_test.go", want: "--config command_test.go: scheduler configuration: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			world := sets
			if test.world != nil {
				world = test.world
			}
			out, err := world.run(t, append(strings.Fields(test.args), test.words...)...)
			if err == nil {
				t.Fatalf("no error, but output:\n%s", out)
			}
			got := err.Error()
			if strings.HasSuffix(test.want, ": ") {
				got = got[:min(len(got), len(test.want))]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	usual := threeZones(set("db", 1), set("dx", 1), set("mq", 1), pod("db", 0).Obj(), pod("mq", 0).Obj(), hpa("web").Obj(), hpa("mq").Obj(),
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "test"}}).policy(t, "kafka", kafka)
	usual.vpas = []runtime.Object{vpa("db").Obj(), vpa("mq").Obj()}
	usual.add(nodeStatus(t, nil))
	slashed := threeZones(nodeStatus(t, func(s *status.Status, _ *status.Templates) { s.NodeGroups[0].Name = "MachineDeployment/prod/workers-a" }))
	tests := map[string]struct {
		world *world
		line  []string
		want  string
	}{
		"commands":            {line: []string{"pl"}, want: "plan"},
		"kinds":               {line: []string{"plan", ""}, want: "sts/ pp/"},
		"sets":                {line: []string{"plan", "sts/d"}, want: "sts/db sts/dx"},
		"sets spelled out":    {line: []string{"plan", "statefulset/"}, want: "statefulset/db statefulset/dx statefulset/mq"},
		"sets after the kind": {line: []string{"plan", "sts", "m"}, want: "mq"},
		"policies":            {line: []string{"plan", "pp/"}, want: "pp/kafka"},
		"nothing more":        {line: []string{"plan", "sts/db", ""}},
		"not pods":            {line: []string{"plan", "pod/"}},
		"pods":                {line: []string{"explain", "pod/d"}, want: "pod/db-0"},
		"pods by name":        {line: []string{"explain", "d"}, want: "db-0"},
		"what is explained":   {line: []string{"explain", ""}, want: "pod/ hpa/ vpa/ node-group/ node/"},
		"what is scaled":      {line: []string{"what-if", "scale", ""}, want: "sts/ deploy/ rs/ rc/"},
		"sets to scale":       {line: []string{"what-if", "scale", "sts/d"}, want: "sts/db sts/dx"},
		"replicas":            {line: []string{"what-if", "scale", "sts/db", ""}},
		"nodes to drain":      {line: []string{"what-if", "drain", "node/b"}, want: "node/b1 node/b2"},
		"node groups":         {line: []string{"explain", "node-group/"}, want: "node-group/a node-group/b node-group/c"},
		"groups spelled out":  {line: []string{"explain", "ng", "b"}, want: "b"},
		"a group's slashes":   {world: slashed, line: []string{"explain", "node-group/MachineDeployment/prod/w"}, want: "node-group/MachineDeployment/prod/workers-a"},
		"slashes after it":    {world: slashed, line: []string{"explain", "node-group", "MachineDeployment/"}, want: "MachineDeployment/prod/workers-a"},
		"a group, no more":    {world: slashed, line: []string{"explain", "node-group", "MachineDeployment/prod/workers-a", ""}},
		"no node groups":      {world: threeZones(), line: []string{"explain", "ng/"}},
		"nodes":               {line: []string{"explain", "node/a"}, want: "node/a1 node/a2"},
		"VPAs":                {line: []string{"explain", "vpa/"}, want: "vpa/db vpa/mq"},
		"VPAs after the kind": {line: []string{"explain", "verticalpodautoscaler", "m"}, want: "mq"},
		"HPAs":                {line: []string{"explain", "hpa/"}, want: "hpa/mq hpa/web"},
		"HPAs after the kind": {line: []string{"explain", "horizontalpodautoscaler", "w"}, want: "web"},
		"sets by name":        {line: []string{"plan", "d"}, want: "db dx"},
		"a kind":              {line: []string{"plan", "p"}, want: "pp/"},
		"sets that are held":  {line: []string{"holds", "sts/d"}, want: "sts/db sts/dx"},
		"namespaces":          {line: []string{"plan", "-n", "t"}, want: "test"},
		"formats":             {line: []string{"plan", "-o", ""}, want: "table yaml json"},
		"no rights":           {world: zones(set("db", 1)).but(forbidden("statefulsets", ns)), line: []string{"plan", "sts/"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.world == nil {
				test.world = usual
			}
			out, err := test.world.run(t, append([]string{cobra.ShellCompNoDescRequestCmd}, test.line...)...)
			if err != nil {
				t.Fatal(err)
			}
			words, _, found := strings.Cut(out, ":")
			if diff := cmp.Diff(test.want, strings.Join(strings.Fields(words), " ")); !found || diff != "" {
				t.Errorf("completions (-want +got):\n%s\nof:\n%s", diff, out)
			}
		})
	}
}

func TestNamedAsTheCompleterItCompletes(t *testing.T) {
	tests := map[string]struct {
		argv, want []string
	}{
		"the command":   {argv: []string{"/bin/kubectl-berth", "plan", "sts/db"}, want: []string{"plan", "sts/db"}},
		"the completer": {argv: []string{"/bin/kubectl_complete-berth", "plan", ""}, want: []string{"__complete", "plan", ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, arguments(test.argv)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestsTimeOut(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	if flag := newCommand(streams).PersistentFlags().Lookup("request-timeout"); flag == nil || flag.DefValue != defaultTimeout {
		t.Errorf("--request-timeout is %+v, want %s unless told otherwise", flag, defaultTimeout)
	}
}

// server is an API server that has no objects, and no PlacementPolicy; it
// records what is asked of it.
type server struct {
	answer map[string]http.HandlerFunc // by resource
	mu     sync.Mutex
	asked  []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+resource)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if answer, ok := s.answer[resource]; ok {
		answer(w, r)
		return
	}
	if resource == "placementpolicies" || resource == schedulerName {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		return
	}
	fmt.Fprintln(w, `{"metadata":{}}`)
}

// run runs the whole command against the server.
func (s *server) run(t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "config")
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts: [{name: test, context: {cluster: test, namespace: prod}}]\nclusters: [{name: test, cluster: {server: %q}}]\n", url)
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	cmd := newCommand(streams)
	cmd.SetArgs(append(args, "--kubeconfig", kubeconfig))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAgainstAServer(t *testing.T) {
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	tests := map[string]struct {
		answer map[string]http.HandlerFunc
		down   bool
		args   []string
		want   string // ends the error
	}{
		"namespace of the context": {args: []string{"plan", "sts/db"}, want: `namespace "prod" has none; name another one by -n`},
		"namespace of the flag":    {args: []string{"plan", "sts/db", "-n", "dev"}, want: `namespace "dev" has none; name another one by -n`},
		"a server that is down":    {down: true, args: []string{"plan", "sts/db"}, want: remedyUnreachable},
		"a server that is too slow": {answer: map[string]http.HandlerFunc{"nodes": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-stuck:
			case <-r.Context().Done():
			}
		}}, args: []string{"plan", "sts/db", "--request-timeout", "50ms"}, want: remedyTimeout},
		"a server that knows nobody": {answer: map[string]http.HandlerFunc{"pods": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintln(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`)
		}}, args: []string{"explain", "db-0"}, want: remedyUnauthorized},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &server{answer: test.answer}
			listening := httptest.NewServer(s)
			defer listening.Close()
			if test.down {
				listening.Close()
			}
			_, err := s.run(t, listening.URL, test.args...)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error %v, want it to end in %q", err, test.want)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if slices.ContainsFunc(s.asked, func(asked string) bool { return !strings.HasPrefix(asked, "GET ") }) {
				t.Errorf("asked %v, want it only to read", s.asked)
			}
		})
	}
}
