/* Polynomials that stand for functions: written by tools/polynomials, which says how. Do not edit.
 *
 * After each colon stands the largest error, relative where nothing else is said in the table there.
 */
#ifndef EMBER_POLYNOMIALS_H
#define EMBER_POLYNOMIALS_H

#include "ember_base.h"

/* (exp(x) - 1 - x) / x^2 for |x| <= log(2) / 2: 2^-60.6 */
EMBER_INLINE double ember_exp_rest_f64(double x) {
    double s = 2.092446242019421e-09;
    s = ember_muladd_f64(s, x, 2.510904581874171e-08);
    s = ember_muladd_f64(s, x, 2.7557242715486445e-07);
    s = ember_muladd_f64(s, x, 2.755724417960911e-06);
    s = ember_muladd_f64(s, x, 2.4801587360573873e-05);
    s = ember_muladd_f64(s, x, 0.0001984126988616046);
    s = ember_muladd_f64(s, x, 0.0013888888888866858);
    s = ember_muladd_f64(s, x, 0.008333333333321615);
    s = ember_muladd_f64(s, x, 0.0416666666666667);
    s = ember_muladd_f64(s, x, 0.16666666666666677);
    s = ember_muladd_f64(s, x, 0.5);
    return s;
}

/* (exp(x) - 1 - x) / x^2 for |x| <= log(2) / 2: 2^-26.0 */
EMBER_INLINE float ember_exp_rest_f32(float x) {
    float s = 0.0013946844264864922f;
    s = ember_muladd_f32(s, x, 0.00836657639592886f);
    s = ember_muladd_f32(s, x, 0.04166627675294876f);
    s = ember_muladd_f32(s, x, 0.1666654348373413f);
    s = ember_muladd_f32(s, x, 0.5f);
    return s;
}

/* (2 artanh(s) - 2 s) / s^3 at x = s^2, for s = (m - 1) / (m + 1) and m from sqrt(1/2) to sqrt(2): 2^-57.9 */
EMBER_INLINE double ember_log_rest_f64(double x) {
    double s = 0.14796131105086127;
    s = ember_muladd_f64(s, x, 0.1531403307147914);
    s = ember_muladd_f64(s, x, 0.18183564982642117);
    s = ember_muladd_f64(s, x, 0.22222198561113646);
    s = ember_muladd_f64(s, x, 0.28571428742498794);
    s = ember_muladd_f64(s, x, 0.3999999999941422);
    s = ember_muladd_f64(s, x, 0.6666666666666734);
    return s;
}

/* (2 artanh(s) - 2 s) / s^3 at x = s^2, for s = (m - 1) / (m + 1) and m from sqrt(1/2) to sqrt(2): 2^-29.1 */
EMBER_INLINE float ember_log_rest_f32(float x) {
    float s = 0.2987188398838043f;
    s = ember_muladd_f32(s, x, 0.39977535605430603f);
    s = ember_muladd_f32(s, x, 0.6666677594184875f);
    return s;
}

/* (log gamma(2 + x) - (1 - C) x) / x^2 for |x| <= 1/2, C being Euler's constant: 2^-56.1 */
EMBER_INLINE double ember_lgamma_rest_f64(double x) {
    double s = -1.3603264876094852e-07;
    s = ember_muladd_f64(s, x, 2.78660459522719e-07);
    s = ember_muladd_f64(s, x, -4.282296201766493e-07);
    s = ember_muladd_f64(s, x, 9.201462419194349e-07);
    s = ember_muladd_f64(s, x, -2.045906925762259e-06);
    s = ember_muladd_f64(s, x, 4.384659026391364e-06);
    s = ember_muladd_f64(s, x, -9.438212658473987e-06);
    s = ember_muladd_f64(s, x, 2.050560265870581e-05);
    s = ember_muladd_f64(s, x, -4.492638664780643e-05);
    s = ember_muladd_f64(s, x, 9.945767173664921e-05);
    s = ember_muladd_f64(s, x, -0.00022315474776198957);
    s = ember_muladd_f64(s, x, 0.0005096695155751665);
    s = ember_muladd_f64(s, x, -0.0011927539121384778);
    s = ember_muladd_f64(s, x, 0.0028905103310260583);
    s = ember_muladd_f64(s, x, -0.007385551028665169);
    s = ember_muladd_f64(s, x, 0.02058080842778058);
    s = ember_muladd_f64(s, x, -0.06735230105319816);
    s = ember_muladd_f64(s, x, 0.32246703342411326);
    return s;
}

/* (log gamma(2 + x) - (1 - C) x) / x^2 for |x| <= 1/2, C being Euler's constant: 2^-27.3 */
EMBER_INLINE float ember_lgamma_rest_f32(float x) {
    float s = -0.000256692263064906f;
    s = ember_muladd_f32(s, x, 0.0005698828026652336f);
    s = ember_muladd_f32(s, x, -0.0011845034314319491f);
    s = ember_muladd_f32(s, x, 0.002879053121432662f);
    s = ember_muladd_f32(s, x, -0.007386361714452505f);
    s = ember_muladd_f32(s, x, 0.020581597462296486f);
    s = ember_muladd_f32(s, x, -0.06735227257013321f);
    s = ember_muladd_f32(s, x, 0.32246702909469604f);
    return s;
}

/* z (log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2) at x = 1 / z^2, for z >= 3.5: 2^-52.0 */
EMBER_INLINE double ember_stirling_rest_f64(double x) {
    double s = -0.11361263817663173;
    s = ember_muladd_f64(s, x, 0.06782794325163485);
    s = ember_muladd_f64(s, x, -0.022031929894059003);
    s = ember_muladd_f64(s, x, 0.006055629525572723);
    s = ember_muladd_f64(s, x, -0.0019063882849633751);
    s = ember_muladd_f64(s, x, 0.0008415293847781758);
    s = ember_muladd_f64(s, x, -0.0005952355101151196);
    s = ember_muladd_f64(s, x, 0.0007936507781333678);
    s = ember_muladd_f64(s, x, -0.002777777777741413);
    s = ember_muladd_f64(s, x, 0.08333333333333331);
    return s;
}

/* z (log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2) at x = 1 / z^2, for z >= 3.5: 2^-22.8 */
EMBER_INLINE float ember_stirling_rest_f32(float x) {
    float s = 0.0007292467635124922f;
    s = ember_muladd_f32(s, x, -0.002775894943624735f);
    s = ember_muladd_f32(s, x, 0.0833333283662796f);
    return s;
}

/* (digamma(1 + a + x) - digamma(1 + a)) / x for 0 <= a + x <= 2.3, a being the root of digamma: 2^-54.4 */
EMBER_INLINE double ember_digamma_slope_f64(double x) {
    double s = -3.369999844585247e-10;
    s = ember_muladd_f64(s, x, -2.1312791010966275e-09);
    s = ember_muladd_f64(s, x, -4.07240053670205e-09);
    s = ember_muladd_f64(s, x, 2.3220394184594012e-09);
    s = ember_muladd_f64(s, x, 1.754869517900452e-08);
    s = ember_muladd_f64(s, x, 1.3043958746118301e-08);
    s = ember_muladd_f64(s, x, -2.596820333002791e-08);
    s = ember_muladd_f64(s, x, -3.938531095332401e-08);
    s = ember_muladd_f64(s, x, 1.250074065580728e-08);
    s = ember_muladd_f64(s, x, 5.477427125756543e-08);
    s = ember_muladd_f64(s, x, 1.076412901654617e-09);
    s = ember_muladd_f64(s, x, -2.5299744561800428e-08);
    s = ember_muladd_f64(s, x, -5.2758282354639955e-08);
    s = ember_muladd_f64(s, x, 1.1083256597046482e-07);
    s = ember_muladd_f64(s, x, -2.1263088180779982e-07);
    s = ember_muladd_f64(s, x, 5.460573446907209e-07);
    s = ember_muladd_f64(s, x, -1.3672836291476442e-06);
    s = ember_muladd_f64(s, x, 3.3637150338420125e-06);
    s = ember_muladd_f64(s, x, -8.305572911922907e-06);
    s = ember_muladd_f64(s, x, 2.0553960266969512e-05);
    s = ember_muladd_f64(s, x, -5.097211998552665e-05);
    s = ember_muladd_f64(s, x, 0.00012681674262539298);
    s = ember_muladd_f64(s, x, -0.0003170368019335431);
    s = ember_muladd_f64(s, x, 0.0007983109581945273);
    s = ember_muladd_f64(s, x, -0.002032481823845558);
    s = ember_muladd_f64(s, x, 0.005265591872132228);
    s = ember_muladd_f64(s, x, -0.01403996529389574);
    s = ember_muladd_f64(s, x, 0.03939709733579866);
    s = ember_muladd_f64(s, x, -0.1225156727886263);
    s = ember_muladd_f64(s, x, 0.49958821066342546);
    return s;
}

/* (digamma(1 + a + x) - digamma(1 + a)) / x for 0 <= a + x <= 2.3, a being the root of digamma: 2^-25.2 */
EMBER_INLINE float ember_digamma_slope_f32(float x) {
    float s = 3.908180951839313e-05f;
    s = ember_muladd_f32(s, x, 4.0916409489000216e-05f);
    s = ember_muladd_f32(s, x, -3.6333975003799424e-05f);
    s = ember_muladd_f32(s, x, -0.00015799129323568195f);
    s = ember_muladd_f32(s, x, 0.0001555899070808664f);
    s = ember_muladd_f32(s, x, -0.0002328888513147831f);
    s = ember_muladd_f32(s, x, 0.0007942988886497915f);
    s = ember_muladd_f32(s, x, -0.0020619214046746492f);
    s = ember_muladd_f32(s, x, 0.005265263840556145f);
    s = ember_muladd_f32(s, x, -0.014035685919225216f);
    s = ember_muladd_f32(s, x, 0.039397142827510834f);
    s = ember_muladd_f32(s, x, -0.12251584976911545f);
    s = ember_muladd_f32(s, x, 0.4995882213115692f);
    return s;
}

/* z^2 (log(z) - 1 / (2 z) - digamma(z)) at x = 1 / z^2, for z >= 2.3: 2^-55.5 */
EMBER_INLINE double ember_digamma_rest_f64(double x) {
    double s = 8.047280656906807;
    s = ember_muladd_f64(s, x, -12.03125894703875);
    s = ember_muladd_f64(s, x, 8.374756780000057);
    s = ember_muladd_f64(s, x, -3.6642146780926748);
    s = ember_muladd_f64(s, x, 1.1657168971036975);
    s = ember_muladd_f64(s, x, -0.3042706475635172);
    s = ember_muladd_f64(s, x, 0.07501353213966447);
    s = ember_muladd_f64(s, x, -0.020713902456704923);
    s = ember_muladd_f64(s, x, 0.007563377375084155);
    s = ember_muladd_f64(s, x, -0.004166395007002329);
    s = ember_muladd_f64(s, x, 0.00396825031985949);
    s = ember_muladd_f64(s, x, -0.008333333307720554);
    s = ember_muladd_f64(s, x, 0.08333333333326741);
    return s;
}

/* z^2 (log(z) - 1 / (2 z) - digamma(z)) at x = 1 / z^2, for z >= 2.3: 2^-29.3 */
EMBER_INLINE float ember_digamma_rest_f32(float x) {
    float s = -0.0021586522925645113f;
    s = ember_muladd_f32(s, x, 0.0036928507033735514f);
    s = ember_muladd_f32(s, x, -0.008316202089190483f);
    s = ember_muladd_f32(s, x, 0.08333297073841095f);
    return s;
}

/* z^3 (trigamma(z) - 1 / z - 1 / (2 z^2)) at x = 1 / z^2, for z >= 3: 2^-49.7 */
EMBER_INLINE double ember_trigamma_rest_f64(double x) {
    double s = 2368.193454887911;
    s = ember_muladd_f64(s, x, -1965.0305914770368);
    s = ember_muladd_f64(s, x, 767.1118036339815);
    s = ember_muladd_f64(s, x, -192.82851389469886);
    s = ember_muladd_f64(s, x, 36.99771645608065);
    s = ember_muladd_f64(s, x, -6.332643495745237);
    s = ember_muladd_f64(s, x, 1.1428222687881497);
    s = ember_muladd_f64(s, x, -0.25258674026774247);
    s = ember_muladd_f64(s, x, 0.07574987540520109);
    s = ember_muladd_f64(s, x, -0.033333265068587276);
    s = ember_muladd_f64(s, x, 0.02380952349141812);
    s = ember_muladd_f64(s, x, -0.03333333333274717);
    s = ember_muladd_f64(s, x, 0.1666666666666665);
    return s;
}

/* z^3 (trigamma(z) - 1 / z - 1 / (2 z^2)) at x = 1 / z^2, for z >= 3: 2^-24.0 */
EMBER_INLINE float ember_trigamma_rest_f32(float x) {
    float s = 0.037307146936655045f;
    s = ember_muladd_f32(s, x, -0.030351392924785614f);
    s = ember_muladd_f32(s, x, 0.023704269900918007f);
    s = ember_muladd_f32(s, x, -0.0333319790661335f);
    s = ember_muladd_f32(s, x, 0.1666666567325592f);
    return s;
}

/* (sin(pi r) / (pi r) - 1) / r^2 at x = r^2, for |r| <= 1/2: 2^-55.8 */
EMBER_INLINE double ember_sinpi_rest_f64(double x) {
    double s = 2.4509286239705716e-07;
    s = ember_muladd_f64(s, x, -6.9721667735293215e-06);
    s = ember_muladd_f64(s, x, 0.00014842787061827592);
    s = ember_muladd_f64(s, x, -0.002346080902191345);
    s = ember_muladd_f64(s, x, 0.026147847806431083);
    s = ember_muladd_f64(s, x, -0.1907518241215612);
    s = ember_muladd_f64(s, x, 0.8117424252833418);
    s = ember_muladd_f64(s, x, -1.6449340668482264);
    return s;
}

/* (sin(pi r) / (pi r) - 1) / r^2 at x = r^2, for |r| <= 1/2: 2^-27.1 */
EMBER_INLINE float ember_sinpi_rest_f32(float x) {
    float s = 0.024754799902439117f;
    s = ember_muladd_f32(s, x, -0.19046182930469513f);
    s = ember_muladd_f32(s, x, 0.8117185235023499f);
    s = ember_muladd_f32(s, x, -1.6449334621429443f);
    return s;
}

/* cos(pi r) / (1 - 4 r^2) at x = r^2, for |r| <= 1/2: 2^-56.5 */
EMBER_INLINE double ember_cospi_f64(double x) {
    double s = 3.347242977406162e-08;
    s = ember_muladd_f64(s, x, -1.0666786399444633e-06);
    s = ember_muladd_f64(s, x, 2.5892619311317855e-05);
    s = ember_muladd_f64(s, x, -0.000475920374834418);
    s = ember_muladd_f64(s, x, 0.006332742747796363);
    s = ember_muladd_f64(s, x, -0.05724947190230903);
    s = ember_muladd_f64(s, x, 0.3195033242380491);
    s = ember_muladd_f64(s, x, -0.9348022005446793);
    s = ember_muladd_f64(s, x, 1.0);
    return s;
}

/* cos(pi r) / (1 - 4 r^2) at x = r^2, for |r| <= 1/2: 2^-27.2 */
EMBER_INLINE float ember_cospi_f32(float x) {
    float s = 0.006038568448275328f;
    s = ember_muladd_f32(s, x, -0.05718466266989708f);
    s = ember_muladd_f32(s, x, 0.3194974362850189f);
    s = ember_muladd_f32(s, x, -0.9348019957542419f);
    s = ember_muladd_f32(s, x, 1.0f);
    return s;
}

#endif
