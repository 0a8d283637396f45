// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/test/fixture"
)

// rivalry is two autoscalers on their way to the same pods, while Berth runs.
type rivalry struct {
	// first is written first, and alone are those who act then. After second things are as is says, whether policies
	// are installed later or were before, and after last as finally says.
	first   []write
	alone   []string
	second  []write
	is      ending
	last    []write
	finally ending
	// late: the policies are there before the second. Early: both are there before Berth is, at the same instant; the
	// older one acts, or the first by UID, and is deleted in the end.
	late, early bool
	// app is the workload that both want, web if it is empty, and labels are those of the namespace.
	app    string
	labels map[string]string
}

// ending is who acts and who does not. Without anybody who is refused there is no conflict.
type ending struct {
	acts, refused []string
	// says are words of the refusal.
	says []string
}

func peace(who ...string) ending { return ending{acts: who} }

func beats(winner, loser string, says ...string) ending {
	return ending{acts: []string{winner}, refused: []string{loser}, says: says}
}

// The names are the same in each namespace.
const (
	byHPA, byVPA, byOther = "HPA/" + front, "VPA/" + sizer, "VPA/" + other
	other                 = "other"
	twoVPAs               = "VPA and VPA of one instant"
)

// rivalries is the table of autoscaler/guard/README.md.
func rivalries() map[string]rivalry {
	web, db := fixture.Target("Deployment", "web"), fixture.Target("StatefulSet", "db")
	crew := autoscalingv2.CrossVersionObjectReference{APIVersion: "e2e.berth.dev/v1", Kind: "Crew", Name: "crew"}
	second := crew
	second.Name = "crew-2"
	const inPlace, recreate, initial, off = vpav1.UpdateModeInPlaceOrRecreate, vpav1.UpdateModeRecreate, vpav1.UpdateModeInitial, vpav1.UpdateModeOff
	both := map[string]string{"berth.dev/allow-hpa-with-vpa": "true"}
	hpa, vpa, rival := []string{byHPA}, []string{byVPA}, []string{byOther}
	return map[string]rivalry{
		// One reference, in both orders, and deletion of either.
		"HPA, then VPA; the HPA goes":          {first: does(createHPA(web)), alone: hpa, second: does(createVPA(web, recreate)), is: beats(byHPA, byVPA, "Deployment/web"), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA, then VPA; the VPA goes":          {first: does(createHPA(web)), alone: hpa, second: does(createVPA(web, inPlace)), is: beats(byHPA, byVPA), last: does(deleteVPA), finally: peace(byHPA)},
		"VPA, then HPA; the VPA goes":          {first: does(createVPA(web, inPlace)), alone: vpa, second: does(createHPA(web)), is: beats(byVPA, byHPA, "Deployment/web"), last: does(deleteVPA), finally: peace(byHPA)},
		"VPA, then HPA; the HPA goes":          {first: does(createVPA(web, recreate)), alone: vpa, second: does(createHPA(web)), is: beats(byVPA, byHPA), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA, then VPA on a set":               {app: "db", first: does(createHPA(db)), alone: hpa, second: does(createVPA(db, recreate)), is: beats(byHPA, byVPA, "StatefulSet/db"), last: does(deleteHPA), finally: peace(byVPA)},
		"VPA, then HPA on a set":               {app: "db", first: does(createVPA(db, recreate)), alone: vpa, second: does(createHPA(db)), is: beats(byVPA, byHPA, "StatefulSet/db"), last: does(deleteVPA), finally: peace(byHPA)},
		"HPA of autoscaling/v1, then VPA":      {first: does(createOldHPA(web)), alone: hpa, second: does(createVPA(web, "")), is: beats(byHPA, byVPA), last: does(deleteHPA), finally: peace(byVPA)},
		"VPA, then HPA of autoscaling/v1":      {first: does(createVPA(web, initial)), alone: vpa, second: does(createOldHPA(web)), is: beats(byVPA, byHPA), last: does(deleteHPA), finally: peace(byVPA)},
		"VPA Off, then HPA":                    {first: does(createVPA(web, off)), alone: vpa, second: does(createHPA(web)), is: beats(byVPA, byHPA), last: does(deleteVPA), finally: peace(byHPA)},
		"HPA, then VPA Off":                    {first: does(createHPA(web)), alone: hpa, second: does(createVPA(web, off)), is: beats(byHPA, byVPA), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA, then another recommender's VPA":  {first: does(createHPA(web)), alone: hpa, second: does(createUpstreamVPA(web)), is: beats(byHPA, byVPA, `recommender "default" is not Berth's`), last: does(deleteVPA), finally: peace(byHPA)},
		"another recommender's VPA, then HPA":  {first: does(createUpstreamVPA(web)), alone: vpa, second: does(createHPA(web)), is: beats(byVPA, byHPA), last: does(deleteVPA), finally: peace(byHPA)},
		"HPA that is being deleted, then VPA":  {first: does(createHPA(web), patchHPA("/metadata/finalizers", []string{holdUp})), alone: hpa, second: does(createVPA(web, recreate), deleteHPA), is: beats(byHPA, byVPA), last: does(patchHPA("/metadata/finalizers", []string{})), finally: peace(byVPA)},
		"HPA, VPA, and both on their own":      {first: does(createHPA(web)), alone: hpa, second: does(createVPA(db, recreate)), is: peace(byHPA, byVPA), last: does(patchHPA("/spec/maxReplicas", 4)), finally: peace(byHPA, byVPA)},
		"a third beside a pair":                {first: does(createHPA(web)), alone: hpa, second: does(createVPA(web, recreate), createNamedVPA(other, web)), is: ending{acts: hpa, refused: []string{byVPA, byOther}}, last: does(deleteNamed(byOther)), finally: beats(byHPA, byVPA)},
		"HPA and VPA of one instant":           {early: true, first: does(createHPA(web), createVPA(web, recreate))},
		"VPA and HPA of one instant":           {early: true, first: does(createVPA(web, recreate), createHPA(web))},
		"HPA and VPA of one instant, on a set": {early: true, app: "db", first: does(createHPA(db), createVPA(db, inPlace))},
		twoVPAs:                                {early: true, first: does(createVPA(web, recreate), createNamedVPA(other, web))},
		// Two VPAs, also where an HPA and a VPA may be together.
		"VPA, then VPA":                                 {first: does(createVPA(web, recreate)), alone: vpa, second: does(createNamedVPA(other, web)), is: beats(byVPA, byOther, "one VPA sizes a workload"), last: does(deleteVPA), finally: peace(byOther)},
		"VPA, then VPA, of two recommenders":            {late: true, first: does(createUpstreamVPA(web)), alone: vpa, second: does(createNamedVPA(other, web)), is: beats(byVPA, byOther), last: does(deleteVPA), finally: peace(byOther)},
		"VPA, then VPA, in a namespace that opted out":  {late: true, labels: both, first: does(createNamedVPA(other, web)), alone: rival, second: does(createVPA(web, recreate)), is: beats(byOther, byVPA), last: does(deleteNamed(byOther)), finally: peace(byVPA)},
		"VPA on a set, then VPA on what owns it":        {late: true, app: "db", first: does(makeCrew("crew", ""), adopt, createVPA(db, recreate)), alone: vpa, second: does(createNamedVPA(other, crew)), is: beats(byVPA, byOther, "StatefulSet/db"), last: does(deleteNamed(byOther)), finally: peace(byVPA)},
		"HPA and VPA in a namespace that opted out":     {labels: both, first: does(createVPA(web, initial)), alone: vpa, second: does(createHPA(web)), is: peace(byVPA, byHPA), last: does(optOut("false")), finally: beats(byVPA, byHPA)},
		"HPA and VPA in a namespace that opts out then": {first: does(createHPA(web)), alone: hpa, second: does(createVPA(web, recreate)), is: beats(byHPA, byVPA), last: does(optOut("true")), finally: peace(byHPA, byVPA)},
		// Updates that turn into a conflict, and out of it.
		"a VPA turns to the target of an HPA":  {first: does(createVPA(db, recreate), createHPA(web)), alone: []string{byHPA, byVPA}, second: does(patchVPA("/spec/targetRef", web)), is: beats(byHPA, byVPA, "Deployment/web"), last: does(patchVPA("/spec/targetRef", db)), finally: peace(byHPA, byVPA)},
		"an HPA turns to the target of a VPA":  {first: does(createHPA(db), createVPA(web, recreate)), alone: []string{byHPA, byVPA}, second: does(patchHPA("/spec/scaleTargetRef", web)), is: beats(byVPA, byHPA, "Deployment/web"), last: does(patchHPA("/spec/scaleTargetRef", db)), finally: peace(byHPA, byVPA)},
		"an object becomes the owner of a set": {late: true, app: "db", first: does(makeCrew("crew", "app=web"), createHPA(crew)), alone: hpa, second: does(createVPA(db, recreate)), is: peace(byHPA, byVPA), last: does(adopt), finally: beats(byHPA, byVPA, "owned by Crew/crew")},
		// An HPA that KEDA makes.
		"KEDA's HPA, then VPA": {first: does(createKEDA(web)), alone: hpa, second: does(createVPA(web, recreate)), is: beats(byHPA, byVPA, `made by ScaledObject "queue": delete or change that`), last: does(deleteKEDA), finally: peace(byVPA)},
		"VPA, then KEDA's HPA": {first: does(createVPA(web, recreate)), alone: vpa, second: does(createKEDA(web)), is: beats(byVPA, byHPA, `made by ScaledObject "queue": delete or change that`), last: does(deleteKEDA), finally: peace(byVPA)},
		// References of other kinds to the same pods, which admission does not see.
		"VPA, then HPA on a ReplicaSet":                   {late: true, first: does(createVPA(web, recreate)), alone: vpa, second: does(onReplicaSet(createHPA)), is: beats(byVPA, byHPA, "owned by Deployment/web", `"sizer" on Deployment/web`), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA, then VPA on a ReplicaSet":                   {late: true, first: does(createHPA(web)), alone: hpa, second: does(onReplicaSet(recreating)), is: beats(byHPA, byVPA, "owned by Deployment/web"), last: does(deleteVPA), finally: peace(byHPA)},
		"VPA on a ReplicaSet, then HPA":                   {first: does(onReplicaSet(recreating)), alone: vpa, second: does(createHPA(web)), is: beats(byVPA, byHPA, "on ReplicaSet/web-"), last: does(deleteVPA), finally: peace(byHPA)},
		"HPA on what owns a set, then VPA":                {late: true, app: "db", first: does(makeCrew("crew", "app=db"), adopt, createHPA(crew)), alone: hpa, second: does(createVPA(db, recreate)), is: beats(byHPA, byVPA, "owned by Crew/crew"), last: does(deleteHPA), finally: peace(byVPA)},
		"VPA on a set, then HPA on what owns it":          {late: true, app: "db", first: does(makeCrew("crew", "app=db"), adopt, createVPA(db, recreate)), alone: vpa, second: does(createHPA(crew)), is: beats(byVPA, byHPA, "on StatefulSet/db"), last: does(deleteVPA), finally: peace(byHPA)},
		"VPA on what owns a set, then HPA":                {app: "db", first: does(makeCrew("crew", "app=db"), adopt, createVPA(crew, recreate)), alone: vpa, second: does(createHPA(db)), is: beats(byVPA, byHPA, "owned by Crew/crew"), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA on a set, then VPA on what owns it":          {late: true, app: "db", first: does(makeCrew("crew", "app=db"), adopt, createHPA(db)), alone: hpa, second: does(createVPA(crew, recreate)), is: beats(byHPA, byVPA, "on StatefulSet/db"), last: does(deleteHPA), finally: peace(byVPA)},
		"HPA on what selects the pods of a set, then VPA": {late: true, app: "db", first: does(makeCrew("crew", "app=db"), createHPA(crew)), alone: hpa, second: does(createVPA(db, recreate)), is: beats(byHPA, byVPA, "on Crew/crew"), last: does(deleteHPA), finally: peace(byVPA)},
		"VPA, then HPA on what selects its pods":          {late: true, app: "db", first: does(makeCrew("crew", "app=db"), createVPA(db, recreate)), alone: vpa, second: does(createHPA(crew)), is: beats(byVPA, byHPA, "selects pods of StatefulSet/db"), last: does(deleteVPA), finally: peace(byHPA)},
		"HPA, then VPA on what selects its pods":          {app: "web", first: does(makeCrew("crew", "app=web"), createHPA(web)), alone: hpa, second: does(createVPA(crew, recreate)), is: beats(byHPA, byVPA, "selects pods of Deployment/web"), last: does(deleteVPA), finally: peace(byHPA)},
		"two objects that select the same pods":           {late: true, app: "db", first: does(makeCrew("crew", "app=db"), makeCrew("crew-2", "app in (db)"), createHPA(crew)), alone: hpa, second: does(createVPA(second, recreate)), is: beats(byHPA, byVPA, "on Crew/crew"), last: does(deleteHPA), finally: peace(byVPA)},
		"an object that selects other pods":               {late: true, app: "db", first: does(makeCrew("crew", "app=db"), createHPA(crew)), alone: hpa, second: does(createVPA(web, recreate)), is: peace(byHPA, byVPA), last: does(deleteVPA), finally: peace(byHPA)},
	}
}
